package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
)

// EachMember runs f for every member at once, each with a direct connection of its
// own. The first error ends the others and names the member.
func EachMember(ctx context.Context, members []Member, f func(context.Context, Member, *pgx.Conn) error) error {
	g, gctx := errgroup.WithContext(ctx)
	for _, m := range members {
		g.Go(func() error {
			c, err := pgx.Connect(gctx, m.DSN)
			if err != nil {
				return fmt.Errorf("connect to %s: %w", m.Name, err)
			}
			defer func() {
				closing, cancel := context.WithTimeout(context.WithoutCancel(gctx), time.Second)
				defer cancel()
				_ = c.Close(closing) // nothing depends on a clean goodbye
			}()
			if err := f(gctx, m, c); err != nil {
				return fmt.Errorf("%s: %w", m.Name, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// Pause waits d, or returns ctx's error if that is done first.
func Pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
