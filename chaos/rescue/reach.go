package rescue

import (
	"context"
	"errors"
	"fmt"

	"github.com/spockchaos/spockchaos/topology/attach"
	"github.com/spockchaos/spockchaos/topology/mesh"
)

// reach is the conninfo by which every server of from reaches to: the one that was named, or the first that leads there out of what
// their catalogs say and what leads there from this machine (after a run with --keep the links in the catalogs are gone).
func (r *Rescue) reach(ctx context.Context, to *survivor, from ...*survivor) (string, error) {
	var candidates []string
	if dsn, ok := r.opts.ServerDSN[to.Name]; ok {
		candidates = []string{dsn}
	} else {
		for _, f := range from {
			dsn := f.peers[to.Name].dsn
			if f == to {
				dsn = f.own
			}
			if dsn != "" {
				candidates = append(candidates, dsn)
			}
		}
		candidates = append(candidates, to.DSN)
	}
	var first error
	for _, dsn := range candidates {
		err := leads(ctx, dsn, to, from)
		if err == nil {
			return dsn, nil
		}
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		if first == nil {
			first = err
		}
	}
	return "", fmt.Errorf("%w (--server-dsn %s=DSN names another way)", first, to.Name)
}

// leads makes sure that dsn leads every server of from to that very server.
func leads(ctx context.Context, dsn string, to *survivor, from []*survivor) error {
	for _, f := range from {
		started, err := f.ask(ctx, dsn, attach.StartedQuery)
		if err == nil && started != to.Started {
			err = errors.New("another server answers")
		}
		if err != nil {
			return fmt.Errorf("the server of %s does not reach %s: %s", f.Name, to.Name, mesh.Reason(err))
		}
	}
	return nil
}
