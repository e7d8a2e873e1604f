package link

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"
)

// wait is the limit of everything that should happen.
const wait = 20 * time.Second

// quiet is how long nothing may happen where nothing should.
const quiet = 150 * time.Millisecond

// server accepts connections and hands them out.
type server struct {
	net.Listener
	conns chan net.Conn
}

func newServer(t testing.TB) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{Listener: l, conns: make(chan net.Conn, 100)}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.conns <- c
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
		close(s.conns)
		for c := range s.conns {
			_ = c.Close()
		}
	})
	return s
}

func newLink(t testing.TB, s *server) *Link {
	t.Helper()
	return newLinkOf(t, Loopback, Spec{From: "n2", To: "n1", Server: s.Addr().String()})
}

func newLinkOf(t testing.TB, bind string, spec Spec) *Link {
	t.Helper()
	set, err := NewSet(bind, 42, zaptest.NewLogger(t))
	if err != nil {
		t.Fatal(err)
	}
	l, err := set.New(spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		done := make(chan struct{})
		go func() {
			_ = set.Close()
			close(done)
		}()
		select {
		case <-done:
		case <-time.After(wait):
			t.Error("closing the set hangs")
		}
		if st := l.Stats(); st.Open != 0 || st.HeldUp != 0 || st.HeldDown != 0 {
			t.Errorf("after closing: %+v", st)
		}
	})
	return l
}

// dial opens a connection and returns both ends.
func dial(t testing.TB, l *Link, s *server) (client, srv *net.TCPConn) {
	t.Helper()
	c, err := net.DialTimeout("tcp", l.Addr(), wait)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	select {
	case sc := <-s.conns:
		t.Cleanup(func() { _ = sc.Close() })
		for _, x := range []net.Conn{c, sc} {
			_ = x.SetDeadline(time.Now().Add(wait))
		}
		return c.(*net.TCPConn), sc.(*net.TCPConn)
	case <-time.After(wait):
		t.Fatal("the connection does not come to the server")
		return nil, nil
	}
}

func send(t testing.TB, c net.Conn, s string) {
	t.Helper()
	if _, err := c.Write([]byte(s)); err != nil {
		t.Fatal(err)
	}
}

func expect(t testing.TB, c net.Conn, want string) {
	t.Helper()
	b := make([]byte, len(want))
	if _, err := io.ReadFull(c, b); err != nil || string(b) != want {
		t.Fatalf("read %q, %v; want %q", b, err, want)
	}
}

// nothing checks that no byte and no end comes for a while.
func nothing(t testing.TB, c net.Conn) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(quiet))
	b := make([]byte, 1)
	n, err := c.Read(b)
	var timeout net.Error
	if n != 0 || !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Fatalf("read %d bytes, %v; want silence", n, err)
	}
	_ = c.SetReadDeadline(time.Now().Add(wait))
}

func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(wait); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

func TestPasses(t *testing.T) {
	s := newServer(t)
	l := newLink(t, s)
	if l.Name() != "n2>n1" || l.From() != "n2" || l.To() != "n1" {
		t.Fatal(l.Name())
	}
	c, sc := dial(t, l, s)
	send(t, c, "question")
	expect(t, sc, "question")
	send(t, sc, "answer")
	expect(t, c, "answer")
	st := l.Stats()
	if st.Open != 1 || st.Accepted != 1 {
		t.Errorf("%+v", st)
	}
	eventually(t, "bytes are counted", func() bool { st := l.Stats(); return st.UpBytes == 8 && st.DownBytes == 6 })
	conns := l.Connections()
	if len(conns) != 1 || conns[0].Client.String() != c.LocalAddr().String() || conns[0].Server.String() != sc.RemoteAddr().String() {
		t.Errorf("%v", conns)
	}
	// An end of file in one direction leaves the other open.
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := sc.Read(make([]byte, 1)); err != io.EOF {
		t.Fatal(err)
	}
	send(t, sc, "late answer")
	expect(t, c, "late answer")
	_ = sc.Close()
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Fatal(err)
	}
	eventually(t, "the connection is gone", func() bool { return l.Stats().Open == 0 })
}

func TestStallIsLosslessAndActsAtOnce(t *testing.T) {
	for _, d := range []Direction{Upstream, Downstream} {
		t.Run(d.String(), func(t *testing.T) {
			s := newServer(t)
			l := newLink(t, s)
			c, sc := dial(t, l, s)
			from, to := c, sc
			if d == Downstream {
				from, to = sc, c
			}
			send(t, from, "before")
			expect(t, to, "before")
			l.Set(d, Gate{Stall: true})
			send(t, from, "held")
			nothing(t, to)
			// The other direction passes.
			send(t, to, "back")
			expect(t, from, "back")
			eventually(t, "held bytes are counted", func() bool { st := l.Stats(); return st.HeldUp+st.HeldDown == 4 })
			// More than the gate may hold: the sender is slowed down, not cut.
			big := make([]byte, 3*maxHeld)
			r := rand.New(rand.NewPCG(1, 2))
			for i := range big {
				big[i] = byte(r.Uint32())
			}
			var wg sync.WaitGroup
			wg.Go(func() {
				if _, err := from.Write(big); err != nil {
					t.Error(err)
				}
				_ = from.CloseWrite()
			})
			nothing(t, to)
			l.Heal()
			got, err := io.ReadAll(to)
			wg.Wait()
			if err != nil || !bytes.Equal(got, append([]byte("held"), big...)) {
				t.Fatalf("got %d bytes, %v", len(got), err)
			}
			if st := l.Stats(); st.HeldUp != 0 || st.HeldDown != 0 {
				t.Errorf("%+v", st)
			}
		})
	}
}

func TestStallHoldsTheEndOfFile(t *testing.T) {
	s := newServer(t)
	l := newLink(t, s)
	c, sc := dial(t, l, s)
	l.Set(Upstream, Gate{Stall: true})
	send(t, c, "last words")
	_ = c.Close()
	nothing(t, sc)
	l.Set(Upstream, Gate{})
	if got, err := io.ReadAll(sc); string(got) != "last words" || err != nil {
		t.Fatalf("%q, %v", got, err)
	}
}

func TestCloseDuringStallWithABlockedPeer(t *testing.T) {
	s := newServer(t)
	l := newLink(t, s) // its cleanup fails if Close hangs
	c, sc := dial(t, l, s)
	// The server does not read, so that the link's writer is blocked, and then the gate stalls.
	_ = c.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
	_, _ = c.Write(make([]byte, 64<<20))
	l.Set(Upstream, Gate{Stall: true})
	l.Set(Downstream, Gate{Stall: true})
	send(t, sc, "x")
}

func TestLatencyKeepsOrder(t *testing.T) {
	s := newServer(t)
	l := newLink(t, s)
	c, sc := dial(t, l, s)
	l.Set(Upstream, Gate{Latency: 60 * time.Millisecond, Jitter: 50 * time.Millisecond})
	var want bytes.Buffer
	start := time.Now()
	for i := range 200 {
		m := fmt.Sprintf("%06d", i)
		want.WriteString(m)
		send(t, c, m)
		if i%20 == 0 {
			time.Sleep(time.Millisecond) // so that it is more than one chunk
		}
	}
	first := make([]byte, 1)
	if _, err := io.ReadFull(sc, first); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(start); d < 10*time.Millisecond {
		t.Errorf("the first byte took %v", d)
	}
	rest := make([]byte, want.Len()-1)
	if _, err := io.ReadFull(sc, rest); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(append(first, rest...), want.Bytes()) {
		t.Error("out of order")
	}
	if l.Stats().Delayed == 0 {
		t.Error("no chunk was delayed")
	}
	// Without jitter the delay is at least the latency, and healing ends it at once.
	l.Set(Upstream, Gate{Latency: 200 * time.Millisecond})
	start = time.Now()
	send(t, c, "x")
	expect(t, sc, "x")
	if d := time.Since(start); d < 200*time.Millisecond {
		t.Errorf("took %v", d)
	}
	l.Set(Upstream, Gate{Latency: time.Hour})
	send(t, c, "y")
	nothing(t, sc)
	l.Heal()
	expect(t, sc, "y")
}

func TestJitterComesFromTheSeed(t *testing.T) {
	draw := func(seed uint64, name string, d Direction) (all []time.Duration) {
		v := newValve(seed, streamOf(name, d), 0)
		for range 20 {
			all = append(all, v.delay(Gate{Latency: time.Second, Jitter: time.Second}))
		}
		return all
	}
	same := func(a, b []time.Duration) bool { return fmt.Sprint(a) == fmt.Sprint(b) }
	a := draw(1, "n1>n2", Upstream)
	if !same(a, draw(1, "n1>n2", Upstream)) {
		t.Error("same seed, other jitter")
	}
	if same(a, draw(2, "n1>n2", Upstream)) || same(a, draw(1, "n2>n1", Upstream)) || same(a, draw(1, "n1>n2", Downstream)) {
		t.Error("other seed, link or direction, same jitter")
	}
	for _, d := range a {
		if d < 0 || d > 2*time.Second {
			t.Errorf("%v is out of range", d)
		}
	}
}

func TestRate(t *testing.T) {
	s := newServer(t)
	l := newLink(t, s)
	c, sc := dial(t, l, s)
	l.Set(Upstream, Gate{Rate: 100_000})
	start := time.Now()
	go func() { _, _ = c.Write(make([]byte, 30_000)) }()
	if _, err := io.ReadFull(sc, make([]byte, 30_000)); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(start); d < 290*time.Millisecond || d > 10*time.Second {
		t.Errorf("30 kB at 100 kB/s took %v", d)
	}
	if l.Stats().Throttled == 0 {
		t.Error("no time was spent")
	}
	// A chunk that would take for ever goes on when the rate does.
	l.Set(Upstream, Gate{Rate: 1})
	go func() { _, _ = c.Write(make([]byte, 30_000)) }()
	eventually(t, "bytes are held", func() bool { return l.Stats().HeldUp > 0 })
	l.Heal()
	if _, err := io.ReadFull(sc, make([]byte, 30_000)); err != nil {
		t.Fatal(err)
	}
}

func TestCutAfter(t *testing.T) {
	s := newServer(t)
	l := newLink(t, s)
	c, sc := dial(t, l, s)
	l.Set(Upstream, Gate{CutAfter: 10})
	send(t, c, "1234")
	expect(t, sc, "1234")
	if g := l.Get(Upstream); g.CutAfter != 6 {
		t.Errorf("%d bytes are left, want 6", g.CutAfter)
	}
	// Somebody else changes the gate: the count goes on.
	l.Update(Upstream, func(g Gate) Gate { g.Latency = time.Millisecond; return g })
	send(t, c, "567890abcdef")
	got, err := io.ReadAll(sc)
	if string(got) != "567890" || err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("got %q, %v", got, err)
	}
	if _, err := io.ReadAll(c); err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Fatal(err)
	}
	eventually(t, "the connection is gone", func() bool { return l.Stats().Open == 0 })
	if st := l.Stats(); st.Cut != 1 {
		t.Errorf("%+v", st)
	}
	// It acts once.
	if g := l.Get(Upstream); g.CutAfter != 0 || g.Latency != time.Millisecond {
		t.Errorf("%+v", g)
	}
	c, sc = dial(t, l, s)
	send(t, c, "0123456789abcdef")
	expect(t, sc, "0123456789abcdef")
}

// A sender that never pauses does not keep its connection from being cut.
func TestCutAfterOfASenderThatNeverPauses(t *testing.T) {
	s := newServer(t)
	l := newLink(t, s)
	c, sc := dial(t, l, s)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			buf := make([]byte, 64<<10)
			for {
				if _, err := c.Write(buf); err != nil {
					return
				}
			}
		})
	}
	_, _ = io.ReadFull(sc, make([]byte, 1<<20))
	l.Set(Upstream, Gate{CutAfter: 1 << 20})
	_, _ = io.Copy(io.Discard, sc)
	eventually(t, "the connection is gone", func() bool { return l.Stats().Open == 0 })
	wg.Wait()
}

func TestReset(t *testing.T) {
	s := newServer(t)
	l := newLink(t, s)
	c1, s1 := dial(t, l, s)
	c2, s2 := dial(t, l, s)
	l.Set(Upstream, Gate{Stall: true}) // a stall does not protect
	send(t, c1, "held")
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	n, err := l.Reset(ctx)
	if n != 2 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	for _, c := range []net.Conn{c1, c2, s1, s2} {
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%v, want a reset", err)
		}
	}
	if n, err := l.Reset(ctx); n != 0 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	l.Heal()
	c, sc := dial(t, l, s)
	send(t, c, "again")
	expect(t, sc, "again")
}

// The server has accepted, and the link does not know it yet: its dial is ended, and that is a reset as well.
func TestResetWhileDialling(t *testing.T) {
	s := newServer(t)
	l := newLink(t, s)
	for range 500 {
		c, sc := dial(t, l, s)
		if _, err := l.Reset(t.Context()); err != nil {
			t.Fatal(err)
		}
		for end, x := range map[string]net.Conn{"client": c, "server": sc} {
			if _, err := x.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Fatalf("the %s's end: %v, want a reset", end, err)
			}
		}
	}
}

func TestRefuse(t *testing.T) {
	s := newServer(t)
	l := newLink(t, s)
	c, sc := dial(t, l, s)
	l.Refuse(true)
	fails(t, l)
	send(t, c, "an open one stays")
	expect(t, sc, "an open one stays")
	if st := l.Stats(); st.Refused != 1 {
		t.Errorf("%+v", st)
	}
	l.Heal()
	dial(t, l, s)
}

// fails checks that a new connection is closed without a byte.
func fails(t *testing.T, l *Link) {
	t.Helper()
	c, err := net.DialTimeout("tcp", l.Addr(), wait)
	if err != nil {
		return
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(wait))
	if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%d bytes, %v; want a closed connection", n, err)
	}
}

func TestServerDown(t *testing.T) {
	s := newServer(t)
	l := newLink(t, s)
	other := newServer(t)
	_ = s.Listener.Close()
	fails(t, l)
	l.SetUpstream(other.Addr().String())
	c, sc := dial(t, l, other)
	send(t, c, "moved")
	expect(t, sc, "moved")
}

func TestHold(t *testing.T) {
	s := newServer(t)
	l := newLink(t, s)
	l.Hold(true)
	c, err := net.Dial("tcp", l.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	send(t, c, "patience")
	select {
	case <-s.conns:
		t.Fatal("the server was dialled")
	case <-time.After(quiet):
	}
	l.Hold(false)
	select {
	case sc := <-s.conns:
		defer func() { _ = sc.Close() }()
		_ = sc.SetDeadline(time.Now().Add(wait))
		expect(t, sc, "patience")
	case <-time.After(wait):
		t.Fatal("the server is not dialled")
	}
	// A held connection can be reset, and does not keep Close.
	l.Hold(true)
	if c, err = net.Dial("tcp", l.Addr()); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	eventually(t, "it is open", func() bool { return l.Stats().Open == 2 })
}

func TestPeersThatDie(t *testing.T) {
	s := newServer(t)
	l := newLink(t, s)
	for i := range 20 {
		c, sc := dial(t, l, s)
		var wg sync.WaitGroup
		for _, x := range []*net.TCPConn{c, sc} {
			wg.Go(func() {
				buf := make([]byte, 32<<10)
				for {
					if _, err := x.Write(buf); err != nil {
						return
					}
				}
			})
		}
		time.Sleep(time.Duration(i%5) * time.Millisecond)
		victim := c
		if i%2 == 0 {
			victim = sc
		}
		_ = victim.SetLinger(0)
		_ = victim.Close()
		wg.Wait() // the other end gets an error as well
	}
	eventually(t, "all connections are gone", func() bool { return l.Stats().Open == 0 })
}

// TestStorm changes everything at once while bytes flow; what arrives is a prefix of what was sent, and
// all of it on connections that were not broken. The race detector looks on.
func TestStorm(t *testing.T) {
	s := newServer(t)
	l := newLink(t, s)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() {
		r := rand.New(rand.NewPCG(7, 7))
		for ctx.Err() == nil {
			d := Direction(r.IntN(2))
			switch r.IntN(7) {
			case 0:
				l.Set(d, Gate{Stall: true})
			case 1:
				l.Set(d, Gate{Latency: time.Millisecond, Jitter: time.Millisecond})
			case 2:
				l.Set(d, Gate{Rate: 1 << 20})
			case 3:
				l.Set(d, Gate{CutAfter: r.Int64N(100_000)})
			case 4:
				l.Heal()
			case 5:
				if r.IntN(5) == 0 {
					_, _ = l.Reset(ctx)
				}
			case 6:
				l.Stats()
				l.Get(d)
			}
			time.Sleep(time.Millisecond)
		}
		l.Heal()
	})
	pattern := make([]byte, 1<<20)
	r := rand.New(rand.NewPCG(3, 4))
	for i := range pattern {
		pattern[i] = byte(r.Uint32())
	}
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for ctx.Err() == nil {
				c, err := net.DialTimeout("tcp", l.Addr(), wait)
				if err != nil {
					continue // a reset was faster
				}
				_ = c.SetDeadline(time.Now().Add(wait))
				go func() { // ends with the connection
					_, _ = c.Write(pattern)
					_ = c.(*net.TCPConn).CloseWrite()
				}()
				got, err := io.ReadAll(c) // the server echoes
				if !bytes.HasPrefix(pattern, got) {
					t.Error("bytes were changed")
				}
				var ne net.Error
				if errors.As(err, &ne) && ne.Timeout() {
					t.Error("a connection hangs")
				}
				_ = c.Close()
			}
		})
	}
	served := make(chan struct{})
	wg.Go(func() {
		clients.Wait()
		close(served)
	})
	wg.Go(func() {
		var echo sync.WaitGroup
		defer echo.Wait()
		for {
			select {
			case sc := <-s.conns:
				echo.Go(func() {
					_ = sc.SetDeadline(time.Now().Add(wait))
					_, _ = io.Copy(sc, sc)
					_ = sc.Close()
				})
			case <-served:
				return
			}
		}
	})
	wg.Wait()
}

func TestSet(t *testing.T) {
	set, err := NewSet(Loopback, 1, zaptest.NewLogger(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := set.New(Spec{From: "a", To: "b", Server: "127.0.0.1:1"}); err != nil {
		t.Fatal(err)
	}
	if _, err := set.New(Spec{From: "a", To: "b", Server: "127.0.0.1:1"}); err == nil {
		t.Error("two links of one name")
	}
	if _, err := set.New(Spec{From: "a", To: "c", Server: "nonsense"}); err == nil {
		t.Error("an address without a port")
	}
	if n := len(set.Links()); n != 1 {
		t.Errorf("%d links", n)
	}
	for range 2 {
		if err := set.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := set.New(Spec{From: "a", To: "d", Server: "127.0.0.1:1"}); err == nil {
		t.Error("a link in a closed set")
	}
	if _, err := NewSet(Loopback, 1, nil); err == nil {
		t.Error("a set without a logger")
	}
}

// BenchmarkRoundTrip compares a link whose gates are open with a direct connection.
func BenchmarkRoundTrip(b *testing.B) {
	run := func(b *testing.B, c, sc net.Conn) {
		_ = c.SetDeadline(time.Time{})
		_ = sc.SetDeadline(time.Time{})
		go func() { _, _ = io.Copy(struct{ io.Writer }{sc}, sc) }()
		buf := make([]byte, 200)
		for b.Loop() {
			if _, err := c.Write(buf); err != nil {
				b.Fatal(err)
			}
			if _, err := io.ReadFull(c, buf); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("direct", func(b *testing.B) {
		s := newServer(b)
		c, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		sc := <-s.conns
		defer func() { _, _ = c.Close(), sc.Close() }()
		run(b, c, sc)
	})
	b.Run("link", func(b *testing.B) {
		s := newServer(b)
		c, sc := dial(b, newLink(b, s), s)
		run(b, c, sc)
	})
}
