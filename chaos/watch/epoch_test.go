package watch

import (
	"context"
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/topology"
	"github.com/spockchaos/spockchaos/topology/local"
	"github.com/spockchaos/spockchaos/topology/local/localtest"
)

// The crash of a backend begins an epoch also on a server whose clock was set back after its start: else a slot that
// fell back to what was saved, which is legal, would have gone back while the server ran.
func TestEpochUnderAClockThatWasSetBack(t *testing.T) {
	n := localtest.Start(t, 1, localtest.Bare(), localtest.With(func(o *local.Options) { o.ClockSkew = true })).Node("n1")
	w := newSampler(n, subscribed{}, time.Now)
	defer w.close()
	before := w.sample(t.Context())
	if before.Error != "" {
		t.Fatal(before.Error)
	}
	if err := n.(topology.ClockSkewer).SkewClock(t.Context(), -time.Hour); err != nil {
		t.Fatal(err)
	}
	seen := []rundir.Sample{before}
	for range 2 {
		c, err := pgx.Connect(t.Context(), n.DSN())
		if err != nil {
			t.Fatal(err)
		}
		defer closeQuietly(c)
		if err := syscall.Kill(int(c.PgConn().PID()), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		await(t, "another epoch", func(context.Context) error {
			r := w.sample(t.Context())
			if r.Error != "" || slices.ContainsFunc(seen, func(s rundir.Sample) bool { return s.Epoch.Equal(r.Epoch) }) {
				return fmt.Errorf("epoch %s, error %q, after %d others", r.Epoch, r.Error, len(seen))
			}
			seen = append(seen, r)
			return nil
		})
	}
}
