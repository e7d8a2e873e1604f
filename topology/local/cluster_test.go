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
	for range 3 {
		start = time.Now()
		if err := c.Restore(ctx); err != nil {
			t.Fatal(err)
		}
		up := time.Since(start)
		if err := c.Ready(ctx); err != nil {
			t.Fatal(err)
		}
		t.Logf("restored after %v, replicating after %v", up, time.Since(start))
	}
}
