package link

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	toxiclient "github.com/Shopify/toxiproxy/v2/client"
	"go.uber.org/zap/zaptest"
)

// apiLink is a link whose set serves Toxiproxy's API to Toxiproxy's own client.
func apiLink(t *testing.T, s *server, stuckAfter time.Duration) (*Link, *toxiclient.Client) {
	t.Helper()
	set, err := NewSet(Loopback, 1, zaptest.NewLogger(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = set.Close() })
	l, err := set.New(Spec{From: "n2", To: "n1", Server: s.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	api := httptest.NewServer(set.toxiproxyAPI(stuckAfter))
	t.Cleanup(func() {
		http.DefaultTransport.(*http.Transport).CloseIdleConnections() // Toxiproxy's client uses it
		api.Close()
	})
	return l, toxiclient.NewClient(api.URL)
}

func proxyOf(t *testing.T, c *toxiclient.Client) *toxiclient.Proxy {
	t.Helper()
	p, err := c.Proxy("n2>n1")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestToxiproxyAPIShowsLinks(t *testing.T) {
	l, c := apiLink(t, newServer(t), stuckAfter)
	all, err := c.Proxies()
	if err != nil || len(all) != 1 {
		t.Fatal(all, err)
	}
	p := all["n2>n1"]
	if p.Name != "n2>n1" || p.Listen != l.Addr() || p.Upstream != *l.upstream.Load() || !p.Enabled || len(p.ActiveToxics) != 0 {
		t.Errorf("%+v", p)
	}
	if _, err := c.Version(); err != nil {
		t.Error(err)
	}
	// A gate shows while it does something, and cannot be touched.
	l.Set(Upstream, Gate{Stall: true, Latency: 30 * time.Millisecond})
	p = proxyOf(t, c)
	if len(p.ActiveToxics) != 1 || p.ActiveToxics[0].Name != "gate_upstream" || p.ActiveToxics[0].Attributes["stall"] != true || p.ActiveToxics[0].Attributes["latency"] != 30.0 {
		t.Errorf("%+v", p.ActiveToxics)
	}
	refusedByAPI(t, p.RemoveToxic("gate_upstream"), http.StatusForbidden, "the link's own gate")
	_, err = p.UpdateToxic("gate_downstream", 0, nil)
	refusedByAPI(t, err, http.StatusForbidden, "the link's own gate")
	if l.Get(Upstream) == (Gate{}) {
		t.Error("the gate is open")
	}
	if err := c.ResetState(); err != nil {
		t.Fatal(err)
	}
	if l.Get(Upstream) != (Gate{}) || len(proxyOf(t, c).ActiveToxics) != 0 {
		t.Error("the gate is not open after a reset")
	}
}

func refusedByAPI(t *testing.T, err error, status int, why string) {
	t.Helper()
	var e *toxiclient.ApiError
	if !errors.As(err, &e) || e.Status != status || !strings.Contains(e.Message, why) {
		t.Errorf("%v, want status %d and %q", err, status, why)
	}
}

func TestToxiproxyAPIRefusesWhatCannotBe(t *testing.T) {
	l, c := apiLink(t, newServer(t), stuckAfter)
	p := proxyOf(t, c)
	refusedByAPI(t, p.Delete(), http.StatusForbidden, "cannot be made or removed")
	_, err := c.CreateProxy("mine", "127.0.0.1:0", "127.0.0.1:1")
	refusedByAPI(t, err, http.StatusForbidden, "cannot be made or removed")
	_, err = c.Populate([]toxiclient.Proxy{{Name: "mine", Upstream: "127.0.0.1:1"}})
	refusedByAPI(t, err, http.StatusForbidden, "cannot be made or removed")
	p.Upstream = "127.0.0.1:1"
	refusedByAPI(t, p.Save(), http.StatusForbidden, "cannot be changed")
	_, err = c.Proxy("n9>n1")
	refusedByAPI(t, err, http.StatusNotFound, "proxy not found")
	for _, bad := range []struct {
		kind  string
		attrs toxiclient.Attributes
		why   string
	}{
		{"reset_peer", nil, "reset_peer is not possible"},
		{toxicType, nil, "invalid toxic type"},
		{"noop", nil, "invalid toxic type"},
		{"slicer", toxiclient.Attributes{"average_size": 0}, "average_size above"},
		{"slicer", toxiclient.Attributes{"average_size": 4, "size_variation": 4}, "average_size above"},
		{"bandwidth", toxiclient.Attributes{"rate": -1}, "attribute rate is -1"},
		{"latency", toxiclient.Attributes{"latency": 1e18}, "attribute latency is 1e+18"},
		{"latency", toxiclient.Attributes{"latency": "long"}, "bad request body"},
	} {
		_, err := proxyOf(t, c).AddToxic("", bad.kind, "downstream", 1, bad.attrs)
		refusedByAPI(t, err, http.StatusBadRequest, bad.why)
	}
	refusedByAPI(t, proxyOf(t, c).RemoveToxic("latency_downstream"), http.StatusNotFound, "toxic not found")
	if l.Refusing() || len(proxyOf(t, c).ActiveToxics) != 0 {
		t.Error("a refused request changed something")
	}
	// A web page must not do what its reader could.
	c.UserAgent = "Mozilla/5.0"
	l.Refuse(true)
	if err := c.ResetState(); err == nil || !l.Refusing() {
		t.Errorf("a browser's request: %v", err)
	}
}

func TestToxiproxyAPITogglesALink(t *testing.T) {
	s := newServer(t)
	l, c := apiLink(t, s, stuckAfter)
	conn, sc := dial(t, l, s)
	send(t, conn, "open")
	expect(t, sc, "open")
	if err := proxyOf(t, c).Disable(); err != nil {
		t.Fatal(err)
	}
	for _, end := range []net.Conn{conn, sc} {
		if _, err := end.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%v, want a reset", err)
		}
	}
	if proxyOf(t, c).Enabled || !l.Refusing() {
		t.Error("it is enabled")
	}
	fails(t, l)
	if err := proxyOf(t, c).Enable(); err != nil {
		t.Fatal(err)
	}
	if !proxyOf(t, c).Enabled {
		t.Error("it is not enabled")
	}
	conn, sc = dial(t, l, s)
	send(t, conn, "again")
	expect(t, sc, "again")
}

func TestToxiproxyAPIToxics(t *testing.T) {
	s := newServer(t)
	l, c := apiLink(t, s, stuckAfter)
	conn, sc := dial(t, l, s)
	question := func() time.Duration {
		t.Helper()
		start := time.Now()
		send(t, conn, "question")
		expect(t, sc, "question")
		return time.Since(start)
	}
	if _, err := proxyOf(t, c).AddToxic("slow", "latency", "upstream", 1, toxiclient.Attributes{"latency": 100}); err != nil {
		t.Fatal(err)
	}
	if took := question(); took < 100*time.Millisecond {
		t.Errorf("under a latency of 100 ms: %s", took)
	}
	toxics, err := proxyOf(t, c).Toxics()
	if err != nil || len(toxics) != 1 || toxics[0].Name != "slow" || toxics[0].Attributes["latency"] != 100.0 {
		t.Errorf("%+v, %v", toxics, err)
	}
	if _, err := proxyOf(t, c).UpdateToxic("slow", 1, toxiclient.Attributes{"latency": 200}); err != nil {
		t.Fatal(err)
	}
	if took := question(); took < 200*time.Millisecond {
		t.Errorf("under a latency of 200 ms: %s", took)
	}
	// The gate and the toxic both act.
	l.Set(Upstream, Gate{Latency: 100 * time.Millisecond})
	if took := question(); took < 200*time.Millisecond {
		t.Errorf("under two latencies: %s", took)
	}
	l.Heal()
	if err := proxyOf(t, c).RemoveToxic("slow"); err != nil {
		t.Fatal(err)
	}
	question()
	if _, err := proxyOf(t, c).AddToxic("", "latency", "downstream", 1, toxiclient.Attributes{"latency": 3600_000}); err != nil {
		t.Fatal(err)
	}
	l.Refuse(true)
	if err := c.ResetState(); err != nil {
		t.Fatal(err)
	}
	send(t, sc, "answer")
	expect(t, conn, "answer")
	if p := proxyOf(t, c); !p.Enabled || len(p.ActiveToxics) != 0 {
		t.Errorf("after a reset: %+v", p)
	}
	// A toxic that ends the stream by itself does not keep the connection.
	if _, err := proxyOf(t, c).AddToxic("", "limit_data", "upstream", 1, toxiclient.Attributes{"bytes": 3}); err != nil {
		t.Fatal(err)
	}
	send(t, conn, "12345")
	if got, err := io.ReadAll(sc); string(got) != "123" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	_ = sc.Close()
	_, _ = conn.Write(make([]byte, 1<<20)) // ends in an error, or in nobody's buffers
	_ = conn.Close()
	eventually(t, "the connection is gone", func() bool { return l.Stats().Open == 0 })
}

// Toxics come and go, and gates change, while bytes flow: every byte arrives, in order.
func TestToxiproxyAPIUnderTraffic(t *testing.T) {
	s := newServer(t)
	l, c := apiLink(t, s, stuckAfter)
	conn, sc := dial(t, l, s)
	pattern := make([]byte, 1<<16)
	r := rand.New(rand.NewPCG(5, 6))
	for i := range pattern {
		pattern[i] = byte(r.Uint32())
	}
	ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
	defer cancel()
	var wg sync.WaitGroup
	sent := 0
	wg.Go(func() {
		for ctx.Err() == nil {
			if _, err := conn.Write(pattern); err != nil {
				t.Error(err)
				break
			}
			sent++
			time.Sleep(time.Millisecond)
		}
		_ = conn.CloseWrite()
	})
	wg.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			kind := []string{"latency", "slicer"}[i%2]
			attrs := []toxiclient.Attributes{{"latency": 1}, {"average_size": 4096, "size_variation": 1024}}[i%2]
			if _, err := proxyOf(t, c).AddToxic("t", kind, "upstream", 1, attrs); err != nil {
				t.Error(err)
			}
			l.Set(Upstream, Gate{Latency: time.Duration(i%3) * time.Millisecond})
			if err := proxyOf(t, c).RemoveToxic("t"); err != nil {
				t.Error(err)
			}
		}
		l.Heal()
	})
	got := 0
	buf := make([]byte, len(pattern))
	for {
		n, err := io.ReadFull(sc, buf)
		if err == io.EOF {
			break
		}
		if err != nil || !bytes.Equal(buf[:n], pattern) {
			t.Fatalf("after %d pieces: %d bytes that were not sent so, %v", got, n, err)
		}
		got++
	}
	wg.Wait()
	if got != sent || got == 0 {
		t.Errorf("%d of %d pieces arrived", got, sent)
	}
}

// Toxiproxy alone would wait for ever to take a toxic from a connection whose peer does not read, and let no new one in.
func TestToxiproxyAPIDoesNotHangOnAPeerThatDoesNotRead(t *testing.T) {
	s := newServer(t)
	l, c := apiLink(t, s, 200*time.Millisecond)
	conn, sc := dial(t, l, s)
	if _, err := proxyOf(t, c).AddToxic("slow", "bandwidth", "upstream", 1, toxiclient.Attributes{"rate": 1e6}); err != nil {
		t.Fatal(err)
	}
	for taken, n := 0, 1; n > 0; taken += n { // until nothing more goes in
		if taken > 1<<30 {
			t.Fatal("the server's buffers take everything")
		}
		_ = conn.SetWriteDeadline(time.Now().Add(time.Second))
		n, _ = conn.Write(make([]byte, 1<<20))
	}
	if err := proxyOf(t, c).RemoveToxic("slow"); err != nil {
		t.Fatal(err)
	}
	_ = sc.SetReadDeadline(time.Now().Add(wait))
	if _, err := io.Copy(io.Discard, sc); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%v, want a reset", err)
	}
	conn, sc = dial(t, l, s)
	send(t, conn, "again")
	expect(t, sc, "again")
}

// Toxics come and go while connections do: nothing hangs, panics or is left behind.
func TestToxiproxyAPIStorm(t *testing.T) {
	s := newServer(t)
	l, c := apiLink(t, s, stuckAfter)
	ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
	defer cancel()
	var wg sync.WaitGroup
	for _, stream := range []string{"upstream", "downstream"} {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				kind := []string{"latency", "bandwidth", "limit_data", "timeout"}[i%4]
				attrs := []toxiclient.Attributes{{"latency": 1}, {"rate": 100000}, {"bytes": 5000}, {"timeout": 2}}[i%4]
				if _, err := proxyOf(t, c).AddToxic("t_"+stream, kind, stream, 1, attrs); err != nil {
					t.Error(err)
				}
				if err := proxyOf(t, c).RemoveToxic("t_" + stream); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Go(func() {
		r := rand.New(rand.NewPCG(8, 9))
		for ctx.Err() == nil {
			l.Set(Direction(r.IntN(2)), []Gate{{}, {Latency: time.Millisecond}, {CutAfter: 10_000}, {Stall: true}}[r.IntN(4)])
			if r.IntN(4) == 0 {
				_, _ = l.Reset(ctx)
			}
			time.Sleep(time.Millisecond)
		}
		l.Heal()
	})
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				conn, err := net.DialTimeout("tcp", l.Addr(), wait)
				if err != nil {
					continue // a reset was faster
				}
				_ = conn.SetDeadline(time.Now().Add(100 * time.Millisecond))
				_, _ = conn.Write(make([]byte, 20_000))
				_, _ = conn.Read(make([]byte, 100))
				_ = conn.Close()
			}
		})
	}
	wg.Go(func() {
		var readers sync.WaitGroup
		defer readers.Wait()
		for ctx.Err() == nil {
			select {
			case sc := <-s.conns:
				readers.Go(func() {
					_ = sc.SetDeadline(time.Now().Add(wait))
					_, _ = io.Copy(sc, sc)
					_ = sc.Close()
				})
			case <-ctx.Done():
			}
		}
	})
	wg.Wait()
	if n, err := l.Reset(t.Context()); err != nil {
		t.Errorf("%d connections, %v", n, err)
	}
	eventually(t, "all connections are gone", func() bool { return l.Stats().Open == 0 })
}
