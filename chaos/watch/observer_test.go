package watch

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/topology"
	"github.com/spockchaos/spockchaos/workload/history"
)

func observed() history.Workload {
	return history.Workload{
		Sessions: []history.Session{{ID: 1, Node: "n1"}, {ID: 7, Node: "n2"}},
		Pools: []history.Pool{
			{Node: "n1", FirstAccount: 100, Accounts: 3, InitialBalance: 50},
			{Node: "n2", FirstAccount: 200, Accounts: 2, InitialBalance: 50},
		},
	}
}

func testObserve(t *testing.T, s *server) {
	c := s.database("chaos")
	exec1(t, c, `INSERT INTO chaos.account SELECT id, 50 FROM unnest(ARRAY[100, 101, 102, 200, 201, 999]) id`)
	exec1(t, c, `INSERT INTO chaos.ledger SELECT 1, n, -n FROM generate_series(1, 10) n`)
	exec1(t, c, `INSERT INTO chaos.ledger VALUES (7, 1, 0), (7, 3, 0), (8, 1, 0)`)
	o := newObserver(node{name: "n1", dsn: s.dsn("chaos")}, observed(), time.Now)
	defer o.close()
	look := func() rundir.Observation {
		t.Helper()
		got := o.observe(t.Context())
		if got.Error != "" || !got.Durable || got.Node != "n1" || got.End.Before(got.At) {
			t.Fatalf("%+v", got)
		}
		return got
	}
	check := func(got rundir.Observation, want ...rundir.ObservedSession) {
		t.Helper()
		if !slices.Equal(got.Sessions, want) {
			t.Errorf("sessions %+v, want %+v", got.Sessions, want)
		}
	}

	first := look()
	check(first, rundir.ObservedSession{Session: 1, Max: 10, Count: 10, Sum: 55}, rundir.ObservedSession{Session: 7, Max: 3, Count: 2, Sum: 4})
	if want := []rundir.ObservedBank{{Node: "n1", Total: 150, Accounts: 3}, {Node: "n2", Total: 100, Accounts: 2}}; !slices.Equal(first.Banks, want) {
		t.Errorf("banks %+v, want %+v", first.Banks, want)
	}
	exec1(t, c, `INSERT INTO chaos.ledger VALUES (1, 11, 0), (1, 12, 0)`)
	exec1(t, c, `DELETE FROM chaos.account WHERE id = 201`)
	second := look()
	check(second, rundir.ObservedSession{Session: 1, After: 10, Max: 12, Count: 2, Sum: 23}, rundir.ObservedSession{Session: 7, After: 3, Max: 3})
	if second.Banks[1] != (rundir.ObservedBank{Node: "n2", Total: 50, Accounts: 1}) {
		t.Errorf("bank %+v", second.Banks[1])
	}
	// A node that fell back (a crash took asynchronous commits) is counted from the start.
	exec1(t, c, `DELETE FROM chaos.ledger WHERE session = 1 AND n > 9`)
	check(look(), rundir.ObservedSession{Session: 1, Max: 9, Count: 9, Sum: 45}, rundir.ObservedSession{Session: 7, After: 3, Max: 3})
	check(look(), rundir.ObservedSession{Session: 1, After: 9, Max: 9}, rundir.ObservedSession{Session: 7, After: 3, Max: 3})
	// To nothing at all, too.
	exec1(t, c, `DELETE FROM chaos.ledger`)
	check(look(), rundir.ObservedSession{Session: 1}, rundir.ObservedSession{Session: 7})
}

// Rows of an asynchronous commit that an observation calls durable survive a crash;
// to show that they would not have survived by themselves, the WAL writer is kept
// from writing.
func testObservedIsDurable(t *testing.T, s *server) {
	c := s.database("chaos")
	exec1(t, c, `ALTER SYSTEM SET wal_writer_delay = '10s'`)
	exec1(t, c, `ALTER SYSTEM SET wal_writer_flush_after = '1GB'`)
	s.kill()
	s.start()
	flushed := func() (lsn, insert int64) {
		c := s.connect("chaos")
		defer closeQuietly(c)
		if err := c.QueryRow(t.Context(), `SELECT (pg_current_wal_flush_lsn() - '0/0')::bigint, (pg_current_wal_insert_lsn() - '0/0')::bigint`).Scan(&lsn, &insert); err != nil {
			t.Fatal(err)
		}
		return lsn, insert
	}
	o := newObserver(node{name: "n1", dsn: s.dsn("chaos")}, observed(), time.Now)
	defer o.close()
	if got := o.observe(t.Context()); !got.Durable {
		t.Fatalf("%+v", got)
	}
	c = s.connect("chaos")
	exec1(t, c, `SET synchronous_commit = off`)
	// Something else may flush the WAL in between (a checkpoint): then once more.
	n := int64(0)
	var before, end int64
	for before, end = 1, 1; before >= end; before, end = flushed() {
		if n++; n > 20 {
			t.Fatal("asynchronous commits are flushed at once here: nothing to show")
		}
		exec1(t, c, `INSERT INTO chaos.ledger VALUES (1, $1, 0)`, n)
	}
	got := o.observe(t.Context())
	if after, _ := flushed(); !got.Durable || got.Sessions[0].Count != n || after < end {
		t.Errorf("flushed to %d, what was seen ends at %d (before: %d): %+v", after, end, before, got)
	}
	s.kill()
	s.start()
	var rows int64
	if err := s.connect("chaos").QueryRow(t.Context(), `SELECT count(*) FROM chaos.ledger`).Scan(&rows); err != nil || rows != n {
		t.Errorf("after the crash: %d rows of %d, %v", rows, n, err)
	}
}

// A snapshot that showed nothing new writes nothing: an idle node must stay idle.
func testObserverLeavesAnIdleNodeAlone(t *testing.T, s *server) {
	c := s.database("chaos")
	exec1(t, c, `INSERT INTO chaos.ledger VALUES (1, 1, 0)`)
	o := newObserver(node{name: "n1", dsn: s.dsn("chaos")}, observed(), time.Now)
	defer o.close()
	xid := func() (x int64) {
		t.Helper()
		if err := c.QueryRow(t.Context(), `SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint`).Scan(&x); err != nil {
			t.Fatal(err)
		}
		return x
	}
	before := xid()
	if got := o.observe(t.Context()); !got.Durable || xid() != before+1 {
		t.Errorf("news: one transaction expected: %d, then %d, %+v", before, xid(), got)
	}
	if got := o.observe(t.Context()); !got.Durable || xid() != before+1 {
		t.Errorf("no news: no transaction expected: %d, then %d, %+v", before, xid(), got)
	}
}

// What could not be made durable is counted again by the next observation.
func testObservationNotDurable(t *testing.T, s *server) {
	c := s.database("chaos")
	exec1(t, c, `INSERT INTO chaos.ledger VALUES (1, 1, 0)`)
	// Its arguments differ between versions.
	exec1(t, c, `DO $$ DECLARE f regprocedure; BEGIN
		FOR f IN SELECT oid FROM pg_proc WHERE proname = 'pg_logical_emit_message' LOOP
			EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM public', f); END LOOP; END $$`)
	exec1(t, c, `CREATE ROLE weak LOGIN PASSWORD 'weak'; GRANT USAGE ON SCHEMA chaos TO weak; GRANT SELECT ON ALL TABLES IN SCHEMA chaos TO weak`)
	o := newObserver(node{name: "n1", dsn: s.dsn("chaos") + " user=weak password=weak"}, observed(), time.Now)
	defer o.close()
	want := rundir.ObservedSession{Session: 1, Max: 1, Count: 1, Sum: 1}
	for range 2 {
		if got := o.observe(t.Context()); got.Durable || got.Error != "" || got.Sessions[0] != want {
			t.Fatalf("%+v", got)
		}
	}
	exec1(t, c, `DO $$ DECLARE f regprocedure; BEGIN
		FOR f IN SELECT oid FROM pg_proc WHERE proname = 'pg_logical_emit_message' LOOP
			EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO weak', f); END LOOP; END $$`)
	if got := o.observe(t.Context()); !got.Durable || got.Sessions[0] != want {
		t.Fatalf("%+v", got)
	}
	if got := o.observe(t.Context()); !got.Durable || got.Sessions[0].After != 1 || got.Sessions[0].Count != 0 {
		t.Fatalf("%+v", got)
	}
}

func testObserversRun(t *testing.T, s *server) {
	c := s.database("chaos")
	out := &kept[rundir.Observation]{}
	nodes := []topology.Node{node{name: "n1", dsn: s.dsn("chaos")}, node{name: "n2", dsn: "host=127.0.0.1 port=1 user=x dbname=x"}}
	obs, err := NewObservers(ObserverOptions{Nodes: nodes, Workload: observed(), Observations: out, Clock: time.Now, Interval: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- obs.Run(ctx) }()
	for n := range 40 {
		exec1(t, c, `INSERT INTO chaos.ledger VALUES (1, $1, 0)`, n+1)
	}
	await(t, "all 40 rows and silence of n2 are seen", func(context.Context) error {
		var rows, silent int64
		for _, r := range out.records() {
			if r.Node == "n2" && r.Error != "" {
				silent++
			}
			if r.Node == "n1" && r.Durable {
				rows += r.Sessions[0].Count
			}
		}
		if rows > 40 {
			t.Fatalf("%d rows seen", rows)
		}
		if rows < 40 || silent == 0 {
			return errors.New("not yet")
		}
		return nil
	})
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := NewObservers(ObserverOptions{Nodes: nodes, Observations: out, Clock: time.Now}); err == nil {
		t.Error("observers without a workload are not refused")
	}
}
