package remote

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/spockchaos/spockchaos/topology/link"
)

// maxBody bounds what is read of a request or an answer.
const maxBody = 1 << 20

// Handler serves the control API over the links of a set.
func Handler(set *link.Set) http.Handler {
	h := handler{set}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /links", h.links)
	mux.HandleFunc("GET /links/{from}/{to}/stats", h.on(func(_ context.Context, l *link.Link, _ *http.Request) (any, error) {
		return statsBody(l.Stats()), nil
	}))
	mux.HandleFunc("GET /links/{from}/{to}/gates/{d}", h.on(getGate))
	mux.HandleFunc("PUT /links/{from}/{to}/gates/{d}", h.on(putGate))
	mux.HandleFunc("PUT /links/{from}/{to}/refuse", h.on(turn((*link.Link).Refuse)))
	mux.HandleFunc("PUT /links/{from}/{to}/hold", h.on(turn((*link.Link).Hold)))
	mux.HandleFunc("POST /links/{from}/{to}/heal", h.on(func(_ context.Context, l *link.Link, _ *http.Request) (any, error) {
		l.Heal()
		return struct{}{}, nil
	}))
	mux.HandleFunc("POST /links/{from}/{to}/reset", h.on(func(ctx context.Context, l *link.Link, _ *http.Request) (any, error) {
		n, err := l.Reset(ctx)
		return resetBody{n}, err
	}))
	return mux
}

type handler struct{ set *link.Set }

// statusError is an error with the status of its answer.
type statusError struct {
	status int
	text   string
}

func (e *statusError) Error() string { return e.text }

func (h handler) links(w http.ResponseWriter, _ *http.Request) {
	all := []linkBody{}
	for _, l := range h.set.Links() {
		all = append(all, linkBody{l.From(), l.To(), l.Addr()})
	}
	write(w, http.StatusOK, all)
}

// on answers with what f says of the link in the request's path.
func (h handler) on(f func(context.Context, *link.Link, *http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := h.find(r, f)
		if err != nil {
			status := http.StatusInternalServerError
			if e, ok := err.(*statusError); ok {
				status = e.status
			}
			write(w, status, errorBody{err.Error()})
			return
		}
		write(w, http.StatusOK, body)
	}
}

func (h handler) find(r *http.Request, f func(context.Context, *link.Link, *http.Request) (any, error)) (any, error) {
	from, to := r.PathValue("from"), r.PathValue("to")
	for _, l := range h.set.Links() {
		if l.From() == from && l.To() == to {
			return f(r.Context(), l, r)
		}
	}
	return nil, &statusError{http.StatusNotFound, fmt.Sprintf("there is no link %s>%s", from, to)}
}

func write(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // whoever asked may have gone
}

func read(r *http.Request, into any) error {
	d := json.NewDecoder(http.MaxBytesReader(nil, r.Body, maxBody))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return &statusError{http.StatusBadRequest, fmt.Sprintf("the request's body: %v", err)}
	}
	return nil
}

func direction(r *http.Request) (link.Direction, error) {
	for _, d := range []link.Direction{link.Upstream, link.Downstream} {
		if r.PathValue("d") == d.String() {
			return d, nil
		}
	}
	return 0, &statusError{http.StatusNotFound, fmt.Sprintf("there is no direction %q", r.PathValue("d"))}
}

func getGate(_ context.Context, l *link.Link, r *http.Request) (any, error) {
	d, err := direction(r)
	return gateBody(l.Get(d)), err
}

func putGate(_ context.Context, l *link.Link, r *http.Request) (any, error) {
	d, err := direction(r)
	if err != nil {
		return nil, err
	}
	var b swapBody
	if err := read(r, &b); err != nil {
		return nil, err
	}
	if !swap(l, d, b) {
		return nil, &statusError{http.StatusConflict, "the gate is no longer as it was seen"}
	}
	return struct{}{}, nil
}

func turn(f func(*link.Link, bool)) func(context.Context, *link.Link, *http.Request) (any, error) {
	return func(_ context.Context, l *link.Link, r *http.Request) (any, error) {
		var b onBody
		if err := read(r, &b); err != nil {
			return nil, err
		}
		f(l, b.On)
		return struct{}{}, nil
	}
}
