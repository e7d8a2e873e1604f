package remote

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	"github.com/spockchaos/spockchaos/topology"
	"github.com/spockchaos/spockchaos/topology/link"
)

// wait is the limit of everything that should happen, quiet how long nothing may where nothing should.
const (
	wait  = 20 * time.Second
	quiet = 150 * time.Millisecond
)

// bench is a link and the server behind it.
type bench struct {
	t     *testing.T
	link  topology.Link
	conns chan *net.TCPConn // that came to the server
}

func newBench(t *testing.T, make func(*link.Set, *link.Link) topology.Link) *bench {
	t.Helper()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, conns: newConns(t, l)}
	set, err := link.NewSet(link.Loopback, 1, zaptest.NewLogger(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = set.Close() })
	held, err := set.New(link.Spec{From: "n2", To: "n1", Server: l.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	b.link = make(set, held)
	return b
}

func newConns(t *testing.T, l *net.TCPListener) chan *net.TCPConn {
	conns := make(chan *net.TCPConn, 100)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.AcceptTCP()
			if err != nil {
				return
			}
			conns <- c
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
		close(conns)
		for c := range conns {
			_ = c.Close()
		}
	})
	return conns
}

func (b *bench) dial() *net.TCPConn {
	b.t.Helper()
	c, err := net.DialTimeout("tcp", b.link.Addr(), wait)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(wait))
	return c.(*net.TCPConn)
}

func (b *bench) accept() *net.TCPConn {
	b.t.Helper()
	select {
	case c := <-b.conns:
		b.t.Cleanup(func() { _ = c.Close() })
		_ = c.SetDeadline(time.Now().Add(wait))
		return c
	case <-time.After(wait):
		b.t.Fatal("the connection does not come to the server")
		return nil
	}
}

// update sets a gate, whatever it was.
func (b *bench) update(d link.Direction, g link.Gate) {
	b.t.Helper()
	b.must(b.link.Update(b.t.Context(), d, func(link.Gate) link.Gate { return g }))
}

func (b *bench) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) stats() link.Stats {
	b.t.Helper()
	s, err := b.link.Stats(b.t.Context())
	b.must(err)
	return s
}

func (b *bench) gate(d link.Direction) (g link.Gate) {
	b.t.Helper()
	b.must(b.link.Update(b.t.Context(), d, func(now link.Gate) link.Gate { g = now; return now }))
	return g
}

func (b *bench) eventually(what string, f func(link.Stats) bool) {
	b.t.Helper()
	for end := time.Now().Add(wait); !f(b.stats()); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			b.t.Fatalf("never: %s; %+v", what, b.stats())
		}
	}
}

func (b *bench) send(c net.Conn, s string) {
	b.t.Helper()
	_, err := c.Write([]byte(s))
	b.must(err)
}

func (b *bench) expect(c net.Conn, want string) {
	b.t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
		b.t.Fatalf("read %q, %v; want %q", got, err, want)
	}
}

func (b *bench) nothing(c net.Conn) {
	b.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(quiet))
	var timeout net.Error
	if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.As(err, &timeout) || !timeout.Timeout() {
		b.t.Fatalf("read %d bytes, %v; want silence", n, err)
	}
	_ = c.SetReadDeadline(time.Now().Add(wait))
}

// TestBehaviour: a link does the same wherever it is held.
func TestBehaviour(t *testing.T) {
	kinds := map[string]func(*testing.T) *bench{
		"in process": func(t *testing.T) *bench {
			return newBench(t, func(_ *link.Set, l *link.Link) topology.Link { return topology.InProcess{Link: l} })
		},
		"remote": func(t *testing.T) *bench {
			return newBench(t, func(s *link.Set, l *link.Link) topology.Link {
				api := httptest.NewServer(Handler(s))
				t.Cleanup(api.Close)
				set, err := Dial(t.Context(), api.Listener.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(set.Close)
				if err := set.Publish(map[string]string{l.Name(): l.Addr()}); err != nil {
					t.Fatal(err)
				}
				return set.Link(l.From(), l.To())
			})
		},
	}
	for kind, make := range kinds {
		for what, test := range map[string]func(*bench){
			"names": names, "stall": stall, "lag": lag, "throttle": throttle, "cut once": cutOnce, "cut under traffic": cutUnderTraffic,
			"reset": reset, "refuse": refuse, "hold": hold, "heal": heal, "updates compose": updatesCompose,
		} {
			t.Run(kind+"/"+what, func(t *testing.T) { test(make(t)) })
		}
	}
}

func names(b *bench) {
	if l := b.link; l.From() != "n2" || l.To() != "n1" || l.Name() != "n2>n1" {
		b.t.Error(l.From(), l.To(), l.Name())
	}
	c, s := b.dial(), b.accept()
	b.send(c, "question")
	b.expect(s, "question")
	b.send(s, "yes")
	b.expect(c, "yes")
	b.eventually("it is counted", func(s link.Stats) bool {
		return s.Open == 1 && s.Accepted == 1 && s.UpBytes == 8 && s.DownBytes == 3
	})
}

func stall(b *bench) {
	c, s := b.dial(), b.accept()
	b.update(link.Downstream, link.Gate{Stall: true})
	b.send(s, "held")
	b.nothing(c)
	b.send(c, "the other way")
	b.expect(s, "the other way")
	b.eventually("bytes are held", func(s link.Stats) bool { return s.HeldDown == 4 && s.HeldUp == 0 })
	b.update(link.Downstream, link.Gate{})
	b.expect(c, "held")
}

func lag(b *bench) {
	c, s := b.dial(), b.accept()
	b.update(link.Upstream, link.Gate{Latency: 100 * time.Millisecond, Jitter: time.Millisecond})
	start := time.Now()
	b.send(c, "late")
	b.expect(s, "late")
	if took := time.Since(start); took < 98*time.Millisecond {
		b.t.Errorf("took %s", took)
	}
	if n := b.stats().Delayed; n == 0 {
		b.t.Error("no chunk was delayed")
	}
}

func throttle(b *bench) {
	c, s := b.dial(), b.accept()
	b.update(link.Upstream, link.Gate{Rate: 50_000})
	start := time.Now()
	b.send(c, string(make([]byte, 10_000)))
	b.expect(s, string(make([]byte, 10_000)))
	if took := time.Since(start); took < 190*time.Millisecond {
		b.t.Errorf("10 kB at 50 kB/s took %s", took)
	}
	if n := b.stats().Throttled; n == 0 {
		b.t.Error("nothing waited for the rate")
	}
}

func cutOnce(b *bench) {
	c, s := b.dial(), b.accept()
	b.update(link.Upstream, link.Gate{CutAfter: 10})
	b.send(c, "1234")
	b.expect(s, "1234")
	if left := b.gate(link.Upstream).CutAfter; left != 6 {
		b.t.Errorf("%d bytes are left, want 6", left)
	}
	b.send(c, "567890abcdef")
	if got, _ := io.ReadAll(s); string(got) != "567890" { // its end may be a reset
		b.t.Errorf("%q", got)
	}
	b.eventually("the connection is gone", func(s link.Stats) bool { return s.Open == 0 && s.Cut == 1 })
	if g := b.gate(link.Upstream); g != (link.Gate{}) {
		b.t.Errorf("after the cut: %+v", g)
	}
}

// cutUnderTraffic changes the gate of a cut all the time, while its bytes are spent: it acts, and only once.
func cutUnderTraffic(b *bench) {
	var stop atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() { // sends, and dials again when cut
		for !stop.Load() {
			c, err := net.DialTimeout("tcp", b.link.Addr(), wait)
			if err != nil {
				b.t.Error(err)
				return
			}
			for !stop.Load() {
				_ = c.SetDeadline(time.Now().Add(wait))
				if _, err := c.Write(make([]byte, 500)); err != nil {
					break
				}
				time.Sleep(100 * time.Microsecond)
			}
			_ = c.Close()
		}
	})
	wg.Go(func() { // reads
		var readers sync.WaitGroup
		defer readers.Wait()
		for !stop.Load() {
			select {
			case c := <-b.conns:
				readers.Go(func() {
					_ = c.SetDeadline(time.Now().Add(wait))
					_, _ = io.Copy(io.Discard, c)
					_ = c.Close()
				})
			case <-time.After(time.Millisecond):
			}
		}
	})
	defer wg.Wait()
	defer stop.Store(true)
	b.update(link.Upstream, link.Gate{CutAfter: 300_000})
	before := b.stats().UpBytes
	for i := 0; b.stats().Cut == 0; i++ {
		if b.stats().UpBytes > before+300_000+200_000 { // what passes while an update is made does not count on top
			b.t.Fatalf("%d bytes have passed and it has not cut", b.stats().UpBytes-before)
		}
		b.must(b.link.Update(b.t.Context(), link.Upstream, func(g link.Gate) link.Gate {
			g.Latency = time.Duration(i%2) * time.Microsecond
			return g
		}))
	}
	for range 50 {
		b.must(b.link.Update(b.t.Context(), link.Upstream, func(g link.Gate) link.Gate {
			if g.CutAfter != 0 {
				b.t.Errorf("the cut is armed again: %+v", g)
			}
			return g
		}))
	}
	passed := b.stats().UpBytes
	b.eventually("as much again has passed", func(s link.Stats) bool { return s.UpBytes > passed+300_000 })
	if n := b.stats().Cut; n != 1 {
		b.t.Errorf("cut %d times", n)
	}
}

func reset(b *bench) {
	c, s := b.dial(), b.accept()
	b.update(link.Upstream, link.Gate{Stall: true})
	b.send(c, "lost")
	b.eventually("it is held", func(s link.Stats) bool { return s.HeldUp == 4 })
	if n, err := b.link.Reset(b.t.Context()); n != 1 || err != nil {
		b.t.Errorf("%d, %v", n, err)
	}
	for _, c := range []net.Conn{c, s} {
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			b.t.Errorf("%v, want a reset", err)
		}
	}
	if s := b.stats(); s.Open != 0 || s.HeldUp != 0 {
		b.t.Errorf("%+v", s)
	}
	if n, err := b.link.Reset(b.t.Context()); n != 0 || err != nil {
		b.t.Errorf("%d, %v", n, err)
	}
}

func refuse(b *bench) {
	c, s := b.dial(), b.accept()
	b.must(b.link.Refuse(b.t.Context(), true))
	b.ended(b.link.Addr())
	b.eventually("it is counted", func(s link.Stats) bool { return s.Refused == 1 })
	b.send(c, "an open one stays")
	b.expect(s, "an open one stays")
	b.must(b.link.Refuse(b.t.Context(), false))
	c, s = b.dial(), b.accept()
	b.send(c, "again")
	b.expect(s, "again")
}

// ended checks that a new connection is closed without a byte.
func (b *bench) ended(addr string) {
	b.t.Helper()
	c, err := net.DialTimeout("tcp", addr, wait)
	if err != nil {
		return
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(wait))
	if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF && !errors.Is(err, syscall.ECONNRESET) {
		b.t.Errorf("%d bytes, %v; want a closed connection", n, err)
	}
}

func hold(b *bench) {
	b.must(b.link.Hold(b.t.Context(), true))
	c := b.dial()
	b.send(c, "patience")
	select {
	case <-b.conns:
		b.t.Fatal("the server was dialled")
	case <-time.After(quiet):
	}
	b.must(b.link.Hold(b.t.Context(), false))
	b.expect(b.accept(), "patience")
}

func heal(b *bench) {
	c, s := b.dial(), b.accept()
	b.update(link.Upstream, link.Gate{Stall: true, Latency: time.Hour})
	b.update(link.Downstream, link.Gate{Rate: 1})
	b.must(b.link.Refuse(b.t.Context(), true))
	b.send(c, "held")
	b.nothing(s)
	b.must(b.link.Heal(b.t.Context()))
	b.expect(s, "held")
	if b.gate(link.Upstream) != (link.Gate{}) || b.gate(link.Downstream) != (link.Gate{}) {
		b.t.Error("a gate is not open")
	}
	b.dial()
	b.accept()
}

// updatesCompose: what is changed at the same time from many sides is all there.
func updatesCompose(b *bench) {
	const each = 20
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range each {
				ctx, cancel := context.WithTimeout(b.t.Context(), wait)
				if err := b.link.Update(ctx, link.Upstream, func(g link.Gate) link.Gate { g.Rate += 7; return g }); err != nil {
					b.t.Error(err)
				}
				cancel()
			}
		})
	}
	wg.Wait()
	if g := b.gate(link.Upstream); g != (link.Gate{Rate: 4 * each * 7}) {
		b.t.Errorf("%+v", g)
	}
}
