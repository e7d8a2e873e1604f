package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/spockchaos/spockchaos/topology"
	"github.com/spockchaos/spockchaos/topology/link"
)

func newSet(t testing.TB) (*link.Set, *link.Link) {
	t.Helper()
	set, err := link.NewSet(link.Loopback, 1, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = set.Close() })
	l, err := set.New(link.Spec{From: "n2", To: "n1", Server: "127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	return set, l
}

func TestSwap(t *testing.T) {
	const ms = time.Millisecond
	for _, tc := range []struct {
		name           string
		now, seen, set link.Gate
		done           bool
		want           link.Gate
	}{
		{"open", link.Gate{}, link.Gate{}, link.Gate{Stall: true}, true, link.Gate{Stall: true}},
		{"as seen", link.Gate{Rate: 5}, link.Gate{Rate: 5}, link.Gate{}, true, link.Gate{}},
		{"changed", link.Gate{Rate: 5}, link.Gate{Rate: 6}, link.Gate{}, false, link.Gate{Rate: 5}},
		{"bytes spent", link.Gate{CutAfter: 70}, link.Gate{CutAfter: 100}, link.Gate{CutAfter: 100, Latency: ms}, true, link.Gate{CutAfter: 70, Latency: ms}},
		{"bytes spent of a nearer cut", link.Gate{CutAfter: 70}, link.Gate{CutAfter: 100}, link.Gate{CutAfter: 40}, true, link.Gate{CutAfter: 10}},
		{"out of bounds", link.Gate{}, link.Gate{}, link.Gate{Rate: -1, Jitter: 1<<63 - 1}, true, link.Gate{Jitter: 24 * time.Hour}},
		{"more spent than is set", link.Gate{CutAfter: 10}, link.Gate{CutAfter: 100}, link.Gate{CutAfter: 40}, true, link.Gate{CutAfter: 1}},
		{"a cut taken away", link.Gate{CutAfter: 10}, link.Gate{CutAfter: 100}, link.Gate{}, true, link.Gate{}},
		{"acted meanwhile", link.Gate{}, link.Gate{CutAfter: 100}, link.Gate{CutAfter: 100, Latency: ms}, false, link.Gate{}},
		{"armed meanwhile", link.Gate{CutAfter: 5}, link.Gate{}, link.Gate{Latency: ms}, false, link.Gate{CutAfter: 5}},
		{"armed further meanwhile", link.Gate{CutAfter: 200}, link.Gate{CutAfter: 100}, link.Gate{}, false, link.Gate{CutAfter: 200}},
	} {
		_, l := newSet(t)
		l.Set(link.Upstream, tc.now)
		done := swap(l, link.Upstream, swapBody{gateBody(tc.seen), gateBody(tc.set)})
		if got := l.Get(link.Upstream); done != tc.done || got != tc.want {
			t.Errorf("%s: %v %+v, want %v %+v", tc.name, done, got, tc.done, tc.want)
		}
	}
}

// A cut that acts between the look and the change is not armed again: f is asked once more, and told.
func TestUpdateSeesThatACutHasActed(t *testing.T) {
	set, held := newSet(t)
	api := httptest.NewServer(Handler(set))
	defer api.Close()
	s, err := Dial(t.Context(), api.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	held.Set(link.Upstream, link.Gate{CutAfter: 100})
	var seen []int64
	err = s.Link("n2", "n1").Update(t.Context(), link.Upstream, func(g link.Gate) link.Gate {
		if seen = append(seen, g.CutAfter); len(seen) == 1 {
			held.Set(link.Upstream, link.Gate{}) // as when it acts
		}
		g.Latency = time.Millisecond
		return g
	})
	if err != nil || fmt.Sprint(seen) != "[100 0]" {
		t.Errorf("saw %v, %v", seen, err)
	}
	if g := held.Get(link.Upstream); g != (link.Gate{Latency: time.Millisecond}) {
		t.Errorf("%+v", g)
	}
}

// everything is each thing that can be asked of a link, and what its error begins with.
func everything(ctx context.Context, l topology.Link) map[string]error {
	_, statsErr := l.Stats(ctx)
	_, resetErr := l.Reset(ctx)
	return map[string]error{
		"reading the gate of link n2>n1: ":              l.Update(ctx, link.Upstream, func(g link.Gate) link.Gate { return g }),
		"reading the counters of link n2>n1: ":          statsErr,
		"resetting link n2>n1: ":                        resetErr,
		"making link n2>n1 refuse connections or not: ": l.Refuse(ctx, true),
		"making link n2>n1 hold connections or not: ":   l.Hold(ctx, true),
		"healing link n2>n1: ":                          l.Heal(ctx),
	}
}

// The process that holds the links dies: whatever is asked of them is an error at once.
func TestProcessDies(t *testing.T) {
	control := freeAddr(t)
	ctx, kill := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() {
		served <- Serve(ctx, Config{
			Bind: link.Loopback, Links: []link.Spec{{From: "n2", To: "n1", Server: "127.0.0.1:1"}},
			Control: control, API: "127.0.0.1:0", Log: zaptest.NewLogger(t),
		})
	}()
	var set *Set
	for end := time.Now().Add(wait); ; time.Sleep(5 * time.Millisecond) {
		var err error
		if set, err = Dial(t.Context(), control); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	defer set.Close()
	if set.Link("n1", "n2") != nil || len(set.Links()) != 1 {
		t.Error(set.Links())
	}
	l := set.Link("n2", "n1")
	for doing, err := range everything(t.Context(), l) {
		if err != nil {
			t.Errorf("%s%v", doing, err)
		}
	}
	open, err := net.Dial("tcp", l.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = open.Close() }()
	kill()
	select {
	case err := <-served:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(wait):
		t.Fatal("it does not end")
	}
	for doing, err := range everything(t.Context(), l) {
		if err == nil || !strings.HasPrefix(err.Error(), doing) || !strings.Contains(err.Error(), "refused") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q, want %q and that the connection was refused", err, doing)
		}
	}
	if _, err := net.Dial("tcp", l.Addr()); err == nil {
		t.Error("the link listens after the end")
	}
	if _, err := Dial(t.Context(), control); err == nil || !strings.HasPrefix(err.Error(), "asking "+control+" for its links: ") {
		t.Error(err)
	}
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// A process that is there and does not answer: a limit for each request, and ctx before that.
func TestNoAnswer(t *testing.T) {
	set, _ := newSet(t)
	silent := make(chan struct{})
	var once sync.Once
	links := Handler(set)
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/links" {
			<-silent
		}
		links.ServeHTTP(w, r)
	}))
	defer api.Close()
	defer once.Do(func() { close(silent) })
	s, err := Dial(t.Context(), api.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	l := s.Link("n2", "n1")
	start := time.Now()
	if err := l.Heal(t.Context()); err == nil || !strings.Contains(err.Error(), "no answer from") || time.Since(start) < requestLimit {
		t.Errorf("%v after %s", err, time.Since(start))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	for doing, err := range everything(ctx, l) {
		if !errors.Is(err, context.DeadlineExceeded) || !strings.HasPrefix(err.Error(), doing) {
			t.Errorf("%v, want %q and the end of ctx", err, doing)
		}
	}
}

func TestPublish(t *testing.T) {
	set, held := newSet(t)
	api := httptest.NewServer(Handler(set))
	defer api.Close()
	s, err := Dial(t.Context(), api.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Publish(map[string]string{"n1>n2": "127.0.0.1:7"}); err == nil || !strings.Contains(err.Error(), "n2>n1") {
		t.Error(err)
	}
	if got := s.Link("n2", "n1").Addr(); got != held.Addr() {
		t.Error(got)
	}
	if err := s.Publish(map[string]string{"n2>n1": "127.0.0.1:7"}); err != nil || s.Links()[0].Addr() != "127.0.0.1:7" {
		t.Error(s.Links()[0].Addr(), err)
	}
}

func TestDialsSomethingElse(t *testing.T) {
	for _, answer := range []string{"", "hello", `{"links":1}`} {
		other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(answer)) }))
		if _, err := Dial(t.Context(), other.Listener.Addr().String()); err == nil || !strings.Contains(err.Error(), "no control API") {
			t.Errorf("%q: %v", answer, err)
		}
		other.Close()
	}
}

func TestServeRefusesBadInput(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	port := taken.Addr().(*net.TCPAddr).Port
	good := func(port int) link.Spec { return link.Spec{From: "n2", To: "n1", Port: port, Server: "n1:5432"} }
	for why, c := range map[string]Config{
		"no link to hold":                      {Bind: link.Loopback},
		"nobody dials client":                  {Bind: link.Loopback, Links: []link.Spec{{From: "n1", To: "client", Port: 1, Server: "x:1"}}},
		"n2>n1 and n1>n2 have the same port 7": {Bind: link.Loopback, Links: []link.Spec{good(7), {From: "n1", To: "n2", Port: 7, Server: "x:1"}}},
		"not an IP address":                    {Bind: "localhost", Links: []link.Spec{good(0)}},
		"making link n2>n1: listen tcp":        {Bind: link.Loopback, Links: []link.Spec{good(port)}},
		"control API: listen tcp":              {Bind: link.Loopback, Links: []link.Spec{good(0)}, Control: taken.Addr().String()},
		"Toxiproxy API: listen tcp":            {Bind: link.Loopback, Links: []link.Spec{good(0)}, Control: "127.0.0.1:0", API: taken.Addr().String()},
	} {
		c.Log = zap.NewNop()
		if err := Serve(t.Context(), c); err == nil || !strings.Contains(err.Error(), why) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v, want %q", err, why)
		}
	}
}

// Whatever is sent to the API, it answers with one of its statuses and JSON, and no gate is out of bounds.
func FuzzHandler(f *testing.F) {
	f.Add("PUT", "/links/n2/n1/gates/upstream", []byte(`{"seen":{},"set":{"stall":true,"latency_ns":5,"jitter_ns":1,"rate":7,"cut_after":9}}`))
	f.Add("PUT", "/links/n2/n1/gates/sideways", []byte(`{"seen":{"cut_after":-1},"set":{"cut_after":-9223372036854775808}}`))
	f.Add("PUT", "/links/n2/n1/refuse", []byte(`{"on":true}`))
	f.Add("POST", "/links/n2/n1/reset", []byte(nil))
	f.Add("GET", "/links", []byte(nil))
	set, held := newSet(f)
	h := Handler(set)
	f.Fuzz(func(t *testing.T, method, path string, body []byte) {
		if method != "GET" && method != "PUT" && method != "POST" || !strings.HasPrefix(path, "/") || strings.ContainsAny(path, " ?#%\x00") {
			t.Skip()
		}
		r, err := http.NewRequest(method, "http://links"+path, bytes.NewReader(body))
		if err != nil {
			t.Skip()
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code >= 500 {
			t.Errorf("status %d: %s", w.Code, w.Body)
		}
		for _, d := range []link.Direction{link.Upstream, link.Downstream} {
			if g := held.Get(d); g.CutAfter < 0 || g.Rate < 0 || g.Latency < 0 || g.Jitter < 0 {
				t.Errorf("%+v", g)
			}
		}
	})
}
