package chaos

import (
	"context"
	"fmt"
	"time"

	"github.com/spockchaos/spockchaos/topology/wait"
)

// pollPause lies between two looks at a condition that is awaited.
const pollPause = 50 * time.Millisecond

// poll looks until cond is true. Past the limit, the error says what was awaited
// and what went wrong at the last look.
func poll(ctx context.Context, limit time.Duration, what string, cond func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		ok, err := cond(ctx)
		if ok {
			return nil
		}
		if wait.For(ctx, pollPause) != nil {
			if err != nil {
				return fmt.Errorf("%s: not within %s: %w", what, limit, err)
			}
			return fmt.Errorf("%s: not within %s", what, limit)
		}
	}
}
