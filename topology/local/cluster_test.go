package local_test

import (
	"context"
	"testing"
	"time"

	"github.com/spockchaos/spockchaos/topology/local/localtest"
)

func limit(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func TestSaveAndRestore(t *testing.T) {
	ctx := limit(t)
	start := time.Now()
	c := localtest.Start(t, 3)
	t.Logf("up, wired and ready after %v", time.Since(start))
	start = time.Now()
	if err := c.Save(ctx); err != nil {
		t.Fatal(err)
	}
	t.Logf("saved after %v", time.Since(start))
	for round := range 3 {
		start = time.Now()
		if err := c.Restore(ctx); err != nil {
			t.Fatal(err)
		}
		up := time.Since(start)
		if err := c.Ready(ctx); err != nil {
			t.Fatal(err)
		}
		// Nothing of the round before is left, and what this one leaves is gone in the next.
		for _, n := range c.Nodes() {
			if value[int](t, ctx, n.DSN(), `SELECT count(*)::int FROM pg_class WHERE relname = 'left_over'`) != 0 {
				t.Error(n.Name(), "remembers the last round")
			}
			exec1(t, ctx, n.DSN(), `CREATE TABLE left_over AS SELECT generate_series(1, 10000) i`)
		}
		if round == 1 {
			if err := c.Node("n2").Lose(ctx); err != nil {
				t.Fatal(err)
			}
		}
		if round == 0 {
			if err := c.Node("n3").Pause(ctx); err != nil {
				t.Fatal(err)
			}
			if err := c.Link("n1", "n2").Refuse(ctx, true); err != nil {
				t.Fatal(err)
			}
		}
		t.Logf("restored after %v, replicating after %v", up, time.Since(start))
	}
}
