package remote

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/spockchaos/spockchaos/topology"
	"github.com/spockchaos/spockchaos/topology/link"
)

// remoteLink is a link of a Set.
type remoteLink struct {
	set      *Set
	from, to string
	addr     string
	path     string
}

var _ topology.Link = (*remoteLink)(nil)

func (l *remoteLink) From() string { return l.from }
func (l *remoteLink) To() string   { return l.to }
func (l *remoteLink) Name() string { return l.from + ">" + l.to }
func (l *remoteLink) Addr() string { return l.addr }

// do says what was being done, "healing link %s", if it fails.
func (l *remoteLink) do(ctx context.Context, doing, method, path string, in, out any) error {
	if err := l.set.do(ctx, method, l.path+path, in, out); err != nil {
		return fmt.Errorf(doing+": %w", l.Name(), err)
	}
	return nil
}

// Update reads the gate and sets f of it, again if it was changed meanwhile or a cut has acted, until ctx ends. A
// cut that is set goes on counting from when it was read.
func (l *remoteLink) Update(ctx context.Context, d link.Direction, f func(link.Gate) link.Gate) error {
	for {
		var seen gateBody
		if err := l.do(ctx, "reading the gate of link %s", http.MethodGet, "/gates/"+d.String(), nil, &seen); err != nil {
			return err
		}
		b := swapBody{Seen: seen, Set: gateBody(f(link.Gate(seen)))}
		err := l.do(ctx, "setting the gate of link %s", http.MethodPut, "/gates/"+d.String(), b, nil)
		if !errors.Is(err, errChanged) {
			return err
		}
	}
}

func (l *remoteLink) Stats(ctx context.Context) (link.Stats, error) {
	var b statsBody
	err := l.do(ctx, "reading the counters of link %s", http.MethodGet, "/stats", nil, &b)
	return link.Stats(b), err
}

func (l *remoteLink) Refuse(ctx context.Context, on bool) error {
	return l.do(ctx, "making link %s refuse connections or not", http.MethodPut, "/refuse", onBody{on}, nil)
}

func (l *remoteLink) Hold(ctx context.Context, on bool) error {
	return l.do(ctx, "making link %s hold connections or not", http.MethodPut, "/hold", onBody{on}, nil)
}

func (l *remoteLink) Heal(ctx context.Context) error {
	return l.do(ctx, "healing link %s", http.MethodPost, "/heal", nil, nil)
}

func (l *remoteLink) Reset(ctx context.Context) (int, error) {
	var b resetBody
	err := l.do(ctx, "resetting link %s", http.MethodPost, "/reset", nil, &b)
	return b.Connections, err
}
