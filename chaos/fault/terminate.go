package fault

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// comeAgain is how long the end of the fault waits for the backends: pglogical starts a worker that
// failed again no sooner than five seconds later.
const comeAgain = 7 * time.Second

// terminated is an active fault that ended backends which come again by themselves.
type terminated struct {
	env  Env
	node string // where they run
	what string // "walsender for n2"
	pids func(ctx context.Context, c *pgx.Conn) ([]int32, error)
	was  []int32
}

// terminate ends the backends that t.pids lists.
func terminate(ctx context.Context, t *terminated) (Active, error) {
	err := t.env.with(ctx, t.node, func(c *pgx.Conn) error {
		var err error
		if t.was, err = t.pids(ctx, c); err != nil {
			return fmt.Errorf("%s on %s: %w", t.what, t.node, err)
		}
		if len(t.was) == 0 {
			return notApplicable("there is no %s on %s", t.what, t.node)
		}
		if _, err := c.Exec(ctx, "SELECT pg_terminate_backend(pid) FROM unnest($1::int4[]) AS pid", t.was); err != nil {
			return fmt.Errorf("terminate %s on %s: %w", t.what, t.node, err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return t, nil
}

// Prove waits until the backends are gone, and a moment for others in their place.
func (t *terminated) Prove(ctx context.Context) (bool, string, error) {
	gone, text := false, ""
	err := t.env.with(ctx, t.node, func(c *pgx.Conn) error {
		return until(ctx, func() (bool, error) {
			left, err := alive(ctx, c, t.was)
			if err != nil {
				return false, fmt.Errorf("backends of %s: %w", t.node, err)
			}
			now, err := t.pids(ctx, c)
			if err != nil {
				return false, fmt.Errorf("%s on %s: %w", t.what, t.node, err)
			}
			gone = left == 0
			text = t.text(left, now)
			return gone && len(now) > 0, nil
		})
	})
	if text != "" || isNotApplicable(err) {
		// The last look says what there was, also when the time was out.
		return gone, text, nil
	}
	return false, "", err
}

func (t *terminated) text(left int, now []int32) string {
	if left > 0 {
		return fmt.Sprintf("%s on %s: %d of %v still run", t.what, t.node, left, t.was)
	}
	now = slices.DeleteFunc(slices.Clone(now), func(pid int32) bool { return slices.Contains(t.was, pid) })
	if len(now) == 0 {
		return fmt.Sprintf("%s on %s: backend %v is gone, none in its place yet", t.what, t.node, t.was)
	}
	return fmt.Sprintf("%s on %s: backend %v is gone, %v is in its place", t.what, t.node, t.was, now)
}

// Heal waits for the backends to come again. That they do not may be another
// fault's doing, so it is told and not an error.
func (t *terminated) Heal(ctx context.Context) (string, error) {
	wait, cancel := context.WithTimeout(ctx, comeAgain)
	defer cancel()
	text := fmt.Sprintf("%s on %s: none has come again", t.what, t.node)
	err := t.env.with(wait, t.node, func(c *pgx.Conn) error {
		return until(wait, func() (bool, error) {
			now, err := t.pids(wait, c)
			if len(now) > 0 {
				text = fmt.Sprintf("%s on %s: backend %v runs", t.what, t.node, now)
			}
			return len(now) > 0, err
		})
	})
	if err != nil {
		return fmt.Sprintf("%s (%v)", text, err), nil
	}
	return text, nil
}

// alive counts the backends that still run.
func alive(ctx context.Context, c *pgx.Conn, pids []int32) (int, error) {
	var n int
	err := c.QueryRow(ctx, "SELECT count(*)::int FROM pg_stat_activity WHERE pid = ANY($1::int4[])", pids).Scan(&n)
	return n, err
}
