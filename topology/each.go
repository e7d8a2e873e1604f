package topology

import (
	"context"

	"golang.org/x/sync/errgroup"
)

// Each runs f for all at once and returns when every call has. The first error ends the others' context and is the result.
func Each[T any](ctx context.Context, all []T, f func(context.Context, T) error) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, one := range all {
		g.Go(func() error { return f(ctx, one) })
	}
	return g.Wait()
}
