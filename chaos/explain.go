package chaos

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/topology/engine"
)

// explain writes down which of the workload's transactions the engine says that a survivor gave up. Each has inserted
// its marker into the ledger.
func (r *round) explain(ctx context.Context) (err error) {
	discarder, ok := r.engine.(engine.Discarder)
	if !ok {
		return nil
	}
	out, err := rundir.OpenLines(filepath.Join(r.dir, rundir.ExplanationsFile))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	for _, node := range r.state.Survivors {
		err := onNode(ctx, r.cluster, node, func(c *pgx.Conn) error {
			return discarder.Discards(ctx, c, "chaos", "ledger", func(d engine.Discard) error {
				e, err := explanation(node, d)
				if err != nil {
					return err
				}
				return out.Append(e)
			})
		})
		if err != nil {
			return fmt.Errorf("read what %s discarded: %w", node, err)
		}
	}
	return nil
}

// explanation is what a discarded marker says of its transaction.
func explanation(node string, d engine.Discard) (rundir.Explanation, error) {
	session, isNumber := d.Row["session"].(float64)
	n, isNumberToo := d.Row["n"].(float64) // far below 2^53
	if !isNumber || !isNumberToo {
		return rundir.Explanation{}, fmt.Errorf("%s on %s has a row of the ledger without session and n: %v", d.Source, node, d.Row)
	}
	return rundir.Explanation{
		Node: node, Session: int(session), N: int64(n), Source: d.Source,
		Entry: fmt.Sprintf("%s: transaction %d of %s, committed there at %s, was given up: %s",
			d.LoggedAt.UTC().Format(time.RFC3339Nano), d.XID, d.Origin, d.CommittedAt.UTC().Format(time.RFC3339Nano), d.Error),
	}, nil
}
