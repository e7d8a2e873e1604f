package chaos

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/spockchaos/spockchaos/chaos/schedule"
	"github.com/spockchaos/spockchaos/checker/rundir"
)

// testLead awaits a lead on the servers of a restored cluster, without a round's workload.
func (h *harness) testLead(t *testing.T) {
	ctx := t.Context()
	if err := h.cluster.Restore(ctx); err != nil {
		t.Fatal(err)
	}
	r := &round{harness: h, plan: schedule.Round{Failed: "n1"}, state: rundir.Round{Survivors: []string{"n2", "n3"}}}
	session := h.sessionIDs("n1")[0]
	write := func(node string, n int) {
		err := onNode(ctx, h.cluster, node, func(c *pgx.Conn) error {
			_, err := c.Exec(ctx, "INSERT INTO chaos.ledger (session, n, value) VALUES ($1, $2, 0)", session, n)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	usual := h.limits.lead
	h.limits.lead = 300 * time.Millisecond
	if got := r.awaitLead(ctx); !strings.HasPrefix(got, "a survivor has a write of n1 that another lacks: not within 300ms") {
		t.Errorf("where nobody has anything: %q", got)
	}
	h.limits.lead = usual
	for _, pair := range [][2]string{{"n2", "n3"}, {"n3", "n2"}} { // neither gets anything from the other
		err := onNode(ctx, h.cluster, pair[0], func(c *pgx.Conn) error { return h.engine.Disable(ctx, c, pair[1]) })
		if err != nil {
			t.Fatal(err)
		}
	}
	said := make(chan string, 1)
	go func() { said <- r.awaitLead(ctx) }()
	write("n2", 1)
	if got := <-said; !strings.HasPrefix(got, "n2 had writes of n1 that n3 lacked") {
		t.Errorf("when n2 had one: %q", got)
	}
	write("n3", 1)
	write("n3", 2)
	if got := r.awaitLead(ctx); got != "n3 had writes of n1 that n2 lacked" {
		t.Errorf("when n3 had more: %q", got)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	began := time.Now()
	if r.awaitLead(ended); time.Since(began) > 5*time.Second {
		t.Error("it was awaited past an interruption")
	}
}
