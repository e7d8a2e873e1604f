package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/Shopify/toxiproxy/v2/stream"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// dialTimeout limits how long the dialling of a server may take; servers are on this machine or near.
const dialTimeout = 5 * time.Second

// Link is one directed, breakable connection. Its methods are safe for concurrent use.
//
// The sockets are the link's own and Toxiproxy's pipeline runs between them.
// Toxiproxy's accept loop dials the server while it holds up everything else, its Stop waits for
// that dial, and it gives no access to its sockets, which a reset needs.
type Link struct {
	from, to string
	log      *zap.Logger
	server   *toxiproxy.ApiServer
	proxy    *toxiproxy.Proxy
	gates    [2]*gateToxic
	listener *net.TCPListener
	ctx      context.Context // ends with the link; dials obey it
	stop     context.CancelFunc
	owned    sync.WaitGroup // accept loop and connections

	upstream atomic.Pointer[string]
	refuse   atomic.Bool
	held     atomic.Pointer[chan struct{}] // nil, or closed when new connections may go on
	accepted atomic.Int64
	refused  atomic.Int64
	cuts     atomic.Int64

	starting sync.Mutex // one StartLink at a time, see gateToxic.next
	foreign  sync.Mutex // one use at a time of toxics that are not ours

	mu     sync.Mutex
	closed bool
	serial uint64
	conns  map[*conn]struct{}
}

// From is the end that dials: a subscriber, or the client.
func (l *Link) From() string { return l.from }

// To is the end that is dialled.
func (l *Link) To() string { return l.to }

// Name is "from>to".
func (l *Link) Name() string { return l.from + ">" + l.to }

// Addr is the address that From dials, "127.0.0.1:41234". It stays the same for the life of the link.
func (l *Link) Addr() string { return l.listener.Addr().String() }

// SetUpstream changes the server's address for new connections.
func (l *Link) SetUpstream(addr string) { l.upstream.Store(&addr) }

// Set puts a gate into one direction. It acts at once, on open connections too.
func (l *Link) Set(d Direction, g Gate) {
	l.gates[d].valve.update(func(Gate) Gate { return g })
}

// Update changes the gate of one direction in one step, so that faults which overlap do not
// undo each other. f sees in CutAfter the bytes left until the cut; it must not call the link.
func (l *Link) Update(d Direction, f func(Gate) Gate) { l.gates[d].valve.update(f) }

// Get is the gate of one direction as it stands; CutAfter is what is left of it.
func (l *Link) Get(d Direction) Gate { return l.gates[d].valve.get() }

// Refuse makes the link close new connections at once (with a reset); open ones stay. When it returns,
// a Reset finds every connection that was let in before.
func (l *Link) Refuse(on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refuse.Store(on)
}

// Hold makes the link take new connections without dialling the server until Hold(false):
// their bytes wait. For a server that is about to start: engines are slow to try again after a refusal.
// Heal and Reset do not end it.
func (l *Link) Hold(on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	old := l.held.Load()
	switch {
	case on && old == nil:
		c := make(chan struct{})
		l.held.Store(&c)
	case !on && old != nil:
		l.held.Store(nil)
		close(*old)
	}
}

// Refusing says whether new connections are refused.
func (l *Link) Refusing() bool { return l.refuse.Load() }

// Heal opens both gates and lets connections in again. Held bytes pass.
func (l *Link) Heal() {
	l.Refuse(false)
	l.Set(Upstream, Gate{})
	l.Set(Downstream, Gate{})
}

// Reset breaks every open connection with a TCP reset at both ends; held bytes are lost. It returns
// how many there were, when they are gone or ctx is done.
func (l *Link) Reset(ctx context.Context) (int, error) {
	open := l.open()
	for _, c := range open {
		c.abort()
	}
	for i, c := range open {
		select {
		case <-c.gone:
		case <-ctx.Done():
			return len(open), fmt.Errorf("resetting link %s: %d of %d connections are not gone: %w",
				l.Name(), len(open)-i, len(open), ctx.Err())
		}
	}
	return len(open), nil
}

// Stats are counts since the link was made, but for Open and Held, which are now.
type Stats struct {
	Open     int64 // connections
	Accepted int64
	Refused  int64
	Cut      int64 // by CutAfter
	UpBytes  int64 // passed on
	// DownBytes is the same from the server back.
	DownBytes int64
	HeldUp    int64 // bytes now held by the gate, or on their way along the line
	HeldDown  int64
	Delayed   int64         // chunks to which a gate gave a delay
	Throttled time.Duration // waiting for the rate, summed over connections
	Delay     time.Duration // of the line itself, each way: no count, it never changes
}

// Stats of the link.
func (l *Link) Stats() Stats {
	up, down := l.gates[Upstream].valve, l.gates[Downstream].valve
	l.mu.Lock()
	open := len(l.conns)
	l.mu.Unlock()
	return Stats{
		Open: int64(open), Accepted: l.accepted.Load(), Refused: l.refused.Load(), Cut: l.cuts.Load(),
		UpBytes: up.bytes.Load(), DownBytes: down.bytes.Load(),
		HeldUp: up.held.Load(), HeldDown: down.held.Load(),
		Delayed:   up.delayed.Load() + down.delayed.Load(),
		Throttled: time.Duration(up.throttled.Load() + down.throttled.Load()),
		Delay:     up.base,
	}
}

// Connection is one open connection: the address From dialled from, and the
// address by which the server knows it.
type Connection struct {
	Client, Server netip.AddrPort
}

// Connections that are open and dialled through to the server.
func (l *Link) Connections() []Connection {
	var all []Connection
	for _, c := range l.open() {
		c.mu.Lock()
		if c.server != nil && !c.isBroken {
			all = append(all, Connection{
				Client: c.client.RemoteAddr().(*net.TCPAddr).AddrPort(),
				Server: c.server.LocalAddr().(*net.TCPAddr).AddrPort(),
			})
		}
		c.mu.Unlock()
	}
	return all
}

func (l *Link) open() []*conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]*conn, 0, len(l.conns))
	for c := range l.conns {
		all = append(all, c)
	}
	return all
}

// accept runs until the listener is closed.
func (l *Link) accept() {
	defer l.owned.Done()
	for {
		client, err := l.listener.AcceptTCP()
		if err != nil {
			if l.ctx.Err() != nil {
				return
			}
			// Out of file descriptors, most likely: it passes.
			l.log.Warn("cannot accept", zap.Error(err))
			select {
			case <-l.ctx.Done():
				return
			case <-time.After(50 * time.Millisecond):
				continue
			}
		}
		c := &conn{link: l, client: client, broken: make(chan struct{}),
			done: make(chan struct{}), gone: make(chan struct{})}
		l.mu.Lock()
		closed, refused := l.closed, l.refuse.Load()
		if !closed && !refused {
			l.conns[c] = struct{}{}
			l.serial++
			l.owned.Add(1)
			go l.serve(c, l.serial)
		}
		l.mu.Unlock()
		if refused {
			l.refused.Add(1)
		}
		if closed || refused {
			_ = client.SetLinger(0)
			_ = client.Close()
		}
	}
}

// serve dials the server and starts Toxiproxy's pipeline in both directions; it ends with the connection.
func (l *Link) serve(c *conn, serial uint64) {
	defer l.owned.Done()
	defer func() {
		l.mu.Lock()
		delete(l.conns, c)
		l.mu.Unlock()
		close(c.gone)
	}()
	if hold := l.held.Load(); hold != nil {
		select {
		case <-*hold:
		case <-c.broken:
		case <-l.ctx.Done():
		}
	}
	ctx, cancel := context.WithTimeout(l.ctx, dialTimeout)
	go func() { // a reset ends the dial as well
		select {
		case <-c.broken:
			cancel()
		case <-ctx.Done():
		}
	}()
	dialer := net.Dialer{Control: resetOnClose}
	server, err := dialer.DialContext(ctx, "tcp", *l.upstream.Load())
	cancel()
	if err != nil {
		l.log.Debug("cannot reach the server", zap.Error(err))
		c.abort()
		return
	}
	c.mu.Lock()
	if c.isBroken {
		c.mu.Unlock()
		_ = server.Close()
		return
	}
	c.server = server.(*net.TCPConn)
	_ = c.server.SetLinger(-1) // from now on its end is told by how the connection ends; a socket that is gone needs nothing
	c.mu.Unlock()
	l.accepted.Add(1)

	c.flows.Add(2)
	l.starting.Lock()
	name := fmt.Sprintf("%s#%d", l.Name(), serial)
	for _, d := range []Direction{Upstream, Downstream} {
		l.gates[d].next = c
		l.proxy.Toxics.StartLink(l.server, name+d.String(), source{c, d}, sink{c, d}, toxiDirection(d))
	}
	l.starting.Unlock()
	<-c.done
	c.abort() // a toxic that ended the stream by itself leaves the flow before it sending to nobody
	c.flows.Wait()
}

// resetOnClose makes the close of a socket a reset. A dial that is ended may have reached the server already,
// which must see what it would see of any other connection that is reset.
func resetOnClose(_, _ string, raw syscall.RawConn) error {
	var failed error
	err := raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptLinger(int(fd), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	})
	return errors.Join(err, failed)
}

func toxiDirection(d Direction) stream.Direction {
	if d == Downstream {
		return stream.Downstream
	}
	return stream.Upstream
}

// close ends the listener and every connection, and returns when all are gone.
func (l *Link) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.stop()
	_ = l.listener.Close()
	for _, c := range l.open() {
		c.abort()
	}
	l.owned.Wait()
}
