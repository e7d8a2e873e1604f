package server

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync"
)

// Servers listen below the ports that the system gives to outgoing connections: of those, one could be taken by
// some client just while its server is down.
const firstPort, endPort = 20000, 32768

// Ports are ports of 127.0.0.1 that nobody else gets until they are released.
type Ports struct {
	mu   sync.Mutex
	held map[int]net.Listener
}

// ReservePorts finds n free ports of 127.0.0.1.
func ReservePorts(n int) (ports []int, r *Ports, err error) {
	r = &Ports{held: map[int]net.Listener{}}
	end := endPort
	if b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		var low int
		if _, err := fmt.Sscan(string(b), &low); err == nil && low > firstPort+1000 {
			end = min(end, low)
		}
	}
	for _, i := range rand.Perm(end - firstPort) {
		if len(ports) == n {
			return ports, r, nil
		}
		l, err := net.Listen("tcp", Addr(firstPort+i))
		if err != nil {
			continue // somebody's
		}
		ports = append(ports, firstPort+i)
		r.held[firstPort+i] = l
	}
	r.Release(ports...)
	return nil, nil, fmt.Errorf("there are not %d free ports from %d to %d", n, firstPort, end-1)
}

// Release lets whoever listens next have ports. Those that are not held any more may be among them.
func (r *Ports) Release(ports ...int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range ports {
		if l := r.held[p]; l != nil {
			_ = l.Close()
			delete(r.held, p)
		}
	}
}

// ReleaseAll is Release of all that are left.
func (r *Ports) ReleaseAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for p, l := range r.held {
		_ = l.Close()
		delete(r.held, p)
	}
}

// Addr is a port of this machine as listeners and dialers have it.
func Addr(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
