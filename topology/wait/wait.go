// Package wait is how a wait that nothing ends but time can be broken off.
//
// It imports nothing of this module; topology, chaos and their sub-packages import it.
package wait

import (
	"context"
	"time"
)

// For waits for d. If ctx is done before, it returns ctx's error at once.
func For(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
