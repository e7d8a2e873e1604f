package server

import (
	"net"
	"testing"
)

func TestPorts(t *testing.T) {
	ports, held, err := ReservePorts(20)
	if err != nil {
		t.Fatal(err)
	}
	defer held.ReleaseAll()
	seen := map[int]bool{}
	for _, p := range ports {
		if seen[p] || p < firstPort || p >= endPort {
			t.Errorf("port %d of %v", p, ports)
		}
		seen[p] = true
	}
	if l, err := net.Listen("tcp", Addr(ports[0])); err == nil {
		_ = l.Close()
		t.Error("a port that is held can be had")
	}
	held.Release(ports[0], 1)
	l, err := net.Listen("tcp", Addr(ports[0]))
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	if _, _, err := ReservePorts(endPort); err == nil {
		t.Error("there are more ports than there are")
	}
}
