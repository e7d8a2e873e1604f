package chaos

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// awaitLead waits until the target is made to lag and a survivor has a write of the node that is about to be lost which another survivor lacks: a loss before that leaves
// nothing to rescue. Links and apply workers that recover from what was broken earlier may need longer for it than the schedule can know. It
// returns how long that took, or that it was not so within the limit; the node is lost then all the same.
func (r *round) awaitLead(ctx context.Context) string {
	began := r.deps.Clock()
	var ahead, behind string
	err := poll(ctx, r.limits.lead, "a survivor has a write of "+r.plan.Failed+" that another lacks", func(ctx context.Context) (bool, error) {
		if exec := r.exec.Load(); exec != nil && !exec.On(r.plan.LagID) {
			return false, nil // what is behind now may catch up before the node is lost
		}
		var err error
		ahead, behind, err = r.lead(ctx)
		return ahead != "", err
	})
	if err != nil {
		return err.Error()
	}
	waited := ""
	if d := r.deps.Clock().Sub(began); d >= time.Second {
		waited = fmt.Sprintf(", which was awaited for %s", d.Round(100*time.Millisecond))
	}
	return fmt.Sprintf("%s had writes of %s that %s lacked%s", ahead, r.plan.Failed, behind, waited)
}

// lead names a survivor that has a write of the failed node's sessions and one that lacks it, if there are such. Who cannot be asked is neither;
// the error says why, where there are none.
func (r *round) lead(ctx context.Context) (ahead, behind string, err error) {
	type last struct {
		node string
		n    map[int32]int64 // by session: its last write there
	}
	var all []last
	var errs []error
	for _, s := range r.state.Survivors {
		have := last{node: s, n: map[int32]int64{}}
		err := onNode(ctx, r.cluster, s, func(c *pgx.Conn) error {
			rows, err := c.Query(ctx, `SELECT s, coalesce((SELECT max(n) FROM chaos.ledger WHERE session = s), 0) FROM unnest($1::int[]) s`, r.sessionIDs(r.plan.Failed))
			if err != nil {
				return err
			}
			var session int32
			var n int64
			_, err = pgx.ForEachRow(rows, []any{&session, &n}, func() error { have.n[session] = n; return nil })
			return err
		})
		if err != nil {
			errs = append(errs, fmt.Errorf("read what %s has of %s: %w", s, r.plan.Failed, err))
			continue
		}
		all = append(all, have)
	}
	for _, a := range all {
		for _, b := range all {
			for session := range a.n {
				if a.n[session] > b.n[session] {
					return a.node, b.node, nil
				}
			}
		}
	}
	return "", "", errors.Join(errs...)
}
