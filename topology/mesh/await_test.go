package mesh

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/spockchaos/spockchaos/topology/engine"
)

// Servers that are not there yet are waited for, which is said once, and the end says why.
func TestAwaitServers(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	_ = l.Close()
	dsn := fmt.Sprintf("host=127.0.0.1 port=%d user=u dbname=d sslmode=disable", port)
	waiting := 0
	c := Cluster{Members: []engine.Member{{Name: "n1", DSN: dsn}, {Name: "n2", DSN: dsn}}, Waiting: func() { waiting++ }}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	err = AwaitServers(ctx, c)
	if err == nil || !strings.Contains(err.Error(), "n2: no answer in time: connection refused") {
		t.Errorf("%v", err)
	}
	if waiting != 1 {
		t.Errorf("said %d times", waiting)
	}
}
