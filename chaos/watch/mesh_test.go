package watch

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/topology"
	"github.com/spockchaos/spockchaos/topology/local/localtest"
	"github.com/spockchaos/spockchaos/workload"
	"github.com/spockchaos/spockchaos/workload/history"
)

// On a real mesh: progress for each peer under the peer's name, writes of one node
// seen on the other, and both found equal.
func TestOnAMesh(t *testing.T) {
	cluster := localtest.Start(t, 2)
	eng := localtest.Engine(t)
	nodes := cluster.Nodes()
	conns := map[string]*pgx.Conn{}
	keyed, insertOnly := workload.Tables()
	for _, n := range nodes {
		c, err := pgx.Connect(t.Context(), n.DSN())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { closeQuietly(c) })
		conns[n.Name()] = c
		if err := workload.Setup(t.Context(), c, history.Workload{}); err != nil {
			t.Fatal(err)
		}
		if err := eng.AddTables(t.Context(), c, keyed, insertOnly); err != nil {
			t.Fatal(err)
		}
	}
	samples, seen := &kept[rundir.Sample]{}, &kept[rundir.Observation]{}
	w, err := NewWatcher(Options{Nodes: nodes, Engine: eng, Samples: samples, Clock: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	obs, err := NewObservers(ObserverOptions{Nodes: nodes, Observations: seen, Clock: time.Now,
		Workload: history.Workload{Sessions: []history.Session{{ID: 1, Node: "n1"}}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	go func() { ended <- w.Run(ctx) }()
	go func() { ended <- obs.Run(ctx) }()
	defer func() {
		cancel()
		if err := errors.Join(<-ended, <-ended); err != nil {
			t.Error(err)
		}
	}()

	for n := range 50 {
		exec1(t, conns["n1"], `INSERT INTO chaos.ledger VALUES (1, $1, 0)`, n+1)
	}
	var end rundir.LSN
	if err := conns["n1"].QueryRow(t.Context(), `SELECT (pg_current_wal_flush_lsn() - '0/0')::bigint`).Scan(&end); err != nil {
		t.Fatal(err)
	}
	await(t, "50 durable rows on n2", func(context.Context) error {
		var rows int64
		for _, r := range seen.records() {
			if r.Node == "n2" && r.Durable {
				rows += r.Sessions[0].Count
			}
		}
		if rows != 50 {
			return fmt.Errorf("%d rows", rows)
		}
		return nil
	})
	await(t, "n2's progress for n1", func(context.Context) error {
		s := w.Latest()["n2"]
		if s.Error != "" || len(s.Origins) != 1 || s.Origins[0].Node != "n1" || s.Origins[0].Local == 0 {
			return fmt.Errorf("%+v", s)
		}
		if len(s.Subscriptions) != 1 || s.Subscriptions[0] != (rundir.Subscription{Provider: "n1", Status: "replicating"}) {
			return fmt.Errorf("%+v", s.Subscriptions)
		}
		if s.Origins[0].Remote < end-16<<10 {
			return fmt.Errorf("n2 has n1's WAL up to %s, it ends at %s", s.Origins[0].Remote, end)
		}
		return nil
	})
	equal, note, err := WaitEqual(t.Context(), []topology.Node{nodes[0], nodes[1]}, 30*time.Second)
	if err != nil || !equal {
		t.Errorf("equal: %v %q %v", equal, note, err)
	}
}
