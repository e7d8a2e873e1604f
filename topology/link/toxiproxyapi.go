package link

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/Shopify/toxiproxy/v2/toxics"
)

const (
	// stuckAfter is how long Toxiproxy may take to change a link's toxics. After 5 s it would drop bytes
	// in the middle of a stream.
	stuckAfter = 3 * time.Second
	// maxToxic bounds a toxic's numbers: a latency of 11 days, a rate of a terabyte a second.
	maxToxic = 1e9
	// maxBody bounds what is read of a request.
	maxBody = 64 << 10
)

// ToxiproxyAPI serves Toxiproxy's HTTP API over the links of the set, for toxiproxy-cli and Toxiproxy's client libraries.
//
// A link is a proxy of its name. Its gates are shown, as toxics, while they do something, and cannot be touched here. Other toxics come
// after them. To disable a link is to refuse connections and to break those that are open; to
// reset is to heal the links and to remove the other toxics. Links cannot be made or removed.
func (s *Set) ToxiproxyAPI() http.Handler { return s.toxiproxyAPI(stuckAfter) }

func (s *Set) toxiproxyAPI(stuckAfter time.Duration) http.Handler {
	a := &toxiproxyAPI{set: s, stuckAfter: stuckAfter}
	fixed := func(*http.Request) (int, any, error) {
		return 0, nil, refusal(http.StatusForbidden, "links are those that spockchaos proxy was started with: they cannot be made or removed here")
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /version", s.server.Version)
	mux.Handle("GET /proxies", answer(a.index))
	mux.Handle("POST /proxies", answer(fixed))
	mux.Handle("POST /populate", answer(fixed))
	mux.Handle("POST /reset", answer(a.reset))
	mux.Handle("GET /proxies/{proxy}", a.link(func(l *Link, _ *http.Request) (int, any, error) { return ok(l.asProxy()) }))
	mux.Handle("POST /proxies/{proxy}", a.link(toggle))
	mux.Handle("PATCH /proxies/{proxy}", a.link(toggle))
	mux.Handle("DELETE /proxies/{proxy}", answer(fixed))
	mux.Handle("GET /proxies/{proxy}/toxics", a.link(func(l *Link, _ *http.Request) (int, any, error) {
		v, err := l.asProxy()
		return ok(v.Toxics, err)
	}))
	mux.Handle("POST /proxies/{proxy}/toxics", a.link(a.addToxic))
	mux.Handle("GET /proxies/{proxy}/toxics/{toxic}", a.link(showToxic))
	mux.Handle("POST /proxies/{proxy}/toxics/{toxic}", a.link(a.updateToxic))
	mux.Handle("PATCH /proxies/{proxy}/toxics/{toxic}", a.link(a.updateToxic))
	mux.Handle("DELETE /proxies/{proxy}/toxics/{toxic}", a.link(a.removeToxic))
	return noBrowsers(mux)
}

type toxiproxyAPI struct {
	set        *Set
	stuckAfter time.Duration
}

// proxyView is a link as Toxiproxy's clients know proxies. A Proxy of Toxiproxy would not do: ours are never started.
type proxyView struct {
	Name     string `json:"name"`
	Listen   string `json:"listen"`
	Upstream string `json:"upstream"`
	Enabled  bool   `json:"enabled"`
	// Toxics are what was read of them under the lock.
	Toxics []json.RawMessage `json:"toxics"`
}

// gateView is a gate that does something, as a toxic.
type gateView struct {
	Name       string         `json:"name"`
	Type       string         `json:"type"`
	Stream     string         `json:"stream"`
	Toxicity   float64        `json:"toxicity"`
	Attributes map[string]any `json:"attributes"`
}

func (l *Link) asProxy() (proxyView, error) {
	v := proxyView{Name: l.Name(), Listen: l.Addr(), Upstream: *l.upstream.Load(), Enabled: !l.Refusing()}
	var all []any
	for _, d := range []Direction{Upstream, Downstream} {
		if g := l.Get(d); !g.open() {
			all = append(all, gateView{gateName(d), toxicType, d.String(), 1, map[string]any{
				"stall": g.Stall, "latency": g.Latency.Milliseconds(), "jitter": g.Jitter.Milliseconds(),
				"rate": g.Rate, "cut_after": g.CutAfter,
			}})
		}
	}
	l.foreign.Lock()
	defer l.foreign.Unlock()
	for _, t := range l.foreignToxics() {
		all = append(all, t)
	}
	v.Toxics = make([]json.RawMessage, len(all))
	for i, t := range all {
		var err error
		if v.Toxics[i], err = json.Marshal(t); err != nil {
			return v, err
		}
	}
	return v, nil
}

// foreignToxics are those that are not our gates. foreign is held.
func (l *Link) foreignToxics() []*toxics.ToxicWrapper {
	var all []*toxics.ToxicWrapper
	for _, t := range l.proxy.Toxics.GetToxicArray() {
		if w, ok := t.(*toxics.ToxicWrapper); ok && w.Type != toxicType {
			all = append(all, w)
		}
	}
	return all
}

func (a *toxiproxyAPI) index(*http.Request) (int, any, error) {
	all := map[string]proxyView{}
	for _, l := range a.set.Links() {
		v, err := l.asProxy()
		if err != nil {
			return 0, nil, err
		}
		all[v.Name] = v
	}
	return http.StatusOK, all, nil
}

// reset heals every link and takes the toxics away that came by this API.
func (a *toxiproxyAPI) reset(r *http.Request) (int, any, error) {
	var wg sync.WaitGroup
	for _, l := range a.set.Links() {
		l.Heal()
		wg.Go(func() {
			_, _ = a.change(l, func() (*toxics.ToxicWrapper, error) {
				for _, t := range l.foreignToxics() {
					_ = l.proxy.Toxics.RemoveToxic(r.Context(), t.Name) // it is there
				}
				return nil, nil
			})
		})
	}
	wg.Wait()
	return http.StatusNoContent, nil, nil
}

func toggle(l *Link, r *http.Request) (int, any, error) {
	want := struct {
		Listen   string `json:"listen"`
		Upstream string `json:"upstream"`
		Enabled  bool   `json:"enabled"`
	}{l.Addr(), *l.upstream.Load(), !l.Refusing()}
	if err := json.NewDecoder(io.LimitReader(r.Body, maxBody)).Decode(&want); err != nil {
		return 0, nil, badBody(err)
	}
	if want.Listen != l.Addr() || want.Upstream != *l.upstream.Load() {
		return 0, nil, refusal(http.StatusForbidden, "the addresses of a link cannot be changed")
	}
	l.Refuse(!want.Enabled)
	if !want.Enabled {
		ctx, cancel := context.WithTimeout(r.Context(), stuckAfter)
		defer cancel()
		if _, err := l.Reset(ctx); err != nil {
			return 0, nil, err
		}
	}
	return ok(l.asProxy())
}

// toxicRequest is what has to be looked at of a toxic before Toxiproxy is given it.
type toxicRequest struct {
	Type       string             `json:"type"`
	Attributes map[string]float64 `json:"attributes"`
}

// readToxic reads a request with numbers that Toxiproxy can take: it does not look at them, and some would end the process.
func readToxic(r *http.Request) (body []byte, t toxicRequest, err error) {
	if body, err = io.ReadAll(io.LimitReader(r.Body, maxBody)); err != nil {
		return nil, t, badBody(err)
	}
	if err = json.NewDecoder(bytes.NewReader(body)).Decode(&t); err != nil {
		return nil, t, badBody(err)
	}
	for name, v := range t.Attributes {
		if v < 0 || v > maxToxic {
			return nil, t, refusal(http.StatusBadRequest, "attribute %s is %g, must be from 0 to %g", name, v, maxToxic)
		}
	}
	return body, t, nil
}

func (a *toxiproxyAPI) addToxic(l *Link, r *http.Request) (int, any, error) {
	body, t, err := readToxic(r)
	if err != nil {
		return 0, nil, err
	}
	switch t.Type {
	case "latency", "bandwidth", "slow_close", "timeout", "limit_data":
	case "slicer":
		if size := t.Attributes["average_size"]; size < 1 || size <= t.Attributes["size_variation"] {
			return 0, nil, refusal(http.StatusBadRequest, "a slicer needs an average_size above its size_variation")
		}
	case "reset_peer":
		return 0, nil, refusal(http.StatusBadRequest, "reset_peer is not possible on a link, whose sockets are not Toxiproxy's; disable the proxy and enable it again")
	default:
		return 0, nil, refusal(http.StatusBadRequest, "invalid toxic type %q; there are latency, bandwidth, slow_close, timeout, slicer, limit_data", t.Type)
	}
	return ok(a.change(l, func() (*toxics.ToxicWrapper, error) {
		return l.proxy.Toxics.AddToxicJson(bytes.NewReader(body))
	}))
}

// foreignToxic finds a toxic that came by this API. foreign is held.
func (l *Link) foreignToxic(name string) (*toxics.ToxicWrapper, error) {
	switch t := l.proxy.Toxics.GetToxic(name); {
	case t == nil:
		return nil, toxiproxy.ErrToxicNotFound
	case t.Type == toxicType:
		return nil, refusal(http.StatusForbidden, "%s is the link's own gate: the faults of a run set it, it cannot be changed here", name)
	default:
		return t, nil
	}
}

func showToxic(l *Link, r *http.Request) (int, any, error) {
	l.foreign.Lock()
	defer l.foreign.Unlock()
	t, err := l.foreignToxic(r.PathValue("toxic"))
	if err != nil {
		return 0, nil, err
	}
	return ok(frozen(t))
}

func (a *toxiproxyAPI) updateToxic(l *Link, r *http.Request) (int, any, error) {
	body, _, err := readToxic(r)
	if err != nil {
		return 0, nil, err
	}
	return ok(a.change(l, func() (*toxics.ToxicWrapper, error) {
		t, err := l.foreignToxic(r.PathValue("toxic"))
		if err != nil {
			return nil, err
		}
		if t.Type == "slicer" {
			return nil, refusal(http.StatusBadRequest, "a slicer cannot be changed: remove it and add another")
		}
		return l.proxy.Toxics.UpdateToxicJson(t.Name, bytes.NewReader(body))
	}))
}

func (a *toxiproxyAPI) removeToxic(l *Link, r *http.Request) (int, any, error) {
	_, err := a.change(l, func() (*toxics.ToxicWrapper, error) {
		t, err := l.foreignToxic(r.PathValue("toxic"))
		if err != nil {
			return nil, err
		}
		return t, l.proxy.Toxics.RemoveToxic(r.Context(), t.Name)
	})
	return http.StatusNoContent, nil, err
}

// change changes a link's toxics by f, which returns the one that it changed. Toxiproxy takes every open connection's toxics in hand for that and waits, with new connections
// waiting for it, until none of them is sending: for ever if a peer does not read. Such connections are broken.
func (a *toxiproxyAPI) change(l *Link, f func() (*toxics.ToxicWrapper, error)) (json.RawMessage, error) {
	l.foreign.Lock()
	defer l.foreign.Unlock()
	t := time.AfterFunc(a.stuckAfter, func() {
		l.log.Warn("a toxic cannot be changed while a peer does not read: breaking the link's connections")
		for _, c := range l.open() {
			c.abort()
		}
	})
	defer t.Stop()
	changed, err := f()
	if err != nil {
		return nil, err
	}
	return frozen(changed)
}

// frozen is a toxic as it is now.
func frozen(t *toxics.ToxicWrapper) (json.RawMessage, error) { return json.Marshal(t) }

func ok[T any](body T, err error) (int, any, error) { return http.StatusOK, body, err }

// answer writes what f returns, errors in Toxiproxy's form.
type answer func(r *http.Request) (status int, body any, err error)

func (f answer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	status, body, err := f(r)
	if err != nil {
		e, ok := err.(*toxiproxy.ApiError)
		if !ok {
			e = refusal(http.StatusInternalServerError, "%v", err)
		}
		status, body = e.StatusCode, e
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if status != http.StatusNoContent {
		_ = json.NewEncoder(w).Encode(body) // whoever asked may have gone
	}
}

// link is an answer about the link that the request's path names.
func (a *toxiproxyAPI) link(f func(*Link, *http.Request) (int, any, error)) answer {
	return func(r *http.Request) (int, any, error) {
		for _, l := range a.set.Links() {
			if l.Name() == r.PathValue("proxy") {
				return f(l, r)
			}
		}
		return 0, nil, toxiproxy.ErrProxyNotFound
	}
}

func refusal(status int, format string, args ...any) *toxiproxy.ApiError {
	return &toxiproxy.ApiError{Message: fmt.Sprintf(format, args...), StatusCode: status}
}

func badBody(err error) error {
	return refusal(http.StatusBadRequest, "%s: %v", toxiproxy.ErrBadRequestBody.Message, err)
}

// noBrowsers keeps web pages out, as Toxiproxy does.
func noBrowsers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.UserAgent(), "Mozilla/") {
			http.Error(w, "User agent not allowed", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}
