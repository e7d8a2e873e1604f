package clustertest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/spockchaos/spockchaos/topology"
	"github.com/spockchaos/spockchaos/topology/wait"
)

// CopiesLog has a node log something before and after a place, and be killed and started in between: from there on the log is whole.
func CopiesLog(ctx context.Context, t *testing.T, n topology.Node) {
	t.Helper()
	copier, ok := n.(topology.LogCopier)
	if !ok {
		t.Fatalf("the log of %s cannot be copied", n.Name())
	}
	say := func(what string) {
		t.Helper()
		c, err := pgx.Connect(ctx, n.DSN())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close(ctx) }()
		if _, err := c.Exec(ctx, fmt.Sprintf("DO $$ BEGIN RAISE LOG E'%s\\nin two lines'; END $$", what)); err != nil {
			t.Fatal(err)
		}
	}
	// Who keeps the log may take a moment to do so.
	until := func(what string, log func() (string, error)) string {
		t.Helper()
		for {
			text, err := log()
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(text, what) {
				return text
			}
			if err := wait.For(ctx, 20*time.Millisecond); err != nil {
				t.Fatalf("%q is not in the log: %v", what, err)
			}
		}
	}
	say("word one")
	until("word one\n\tin two lines\n", func() (string, error) { return n.Log(4000) })
	from, err := copier.LogEnd(ctx)
	if err != nil {
		t.Fatal(err)
	}
	say("word two")
	if err := n.Stop(ctx, topology.StopKill); err != nil {
		t.Fatal(err)
	}
	if err := n.Start(ctx); err != nil {
		t.Fatal(err)
	}
	say("word three")
	text := until("word three\n\tin two lines\n", func() (string, error) {
		var b strings.Builder
		err := copier.CopyLog(ctx, from, &b)
		return b.String(), err
	})
	if strings.Contains(text, "word one") || !strings.Contains(text, " LOG:  word two\n\tin two lines\n") || !strings.HasPrefix(text, time.Now().UTC().Format("2006-")) {
		t.Errorf("from the place on the log is:\n%s", text)
	}
}
