package chaos

import (
	"context"
	"fmt"
	"time"
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
		if !pause(ctx, pollPause) {
			if err != nil {
				return fmt.Errorf("%s: not within %s: %w", what, limit, err)
			}
			return fmt.Errorf("%s: not within %s", what, limit)
		}
	}
}

// pause waits d; false if ctx was done first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
