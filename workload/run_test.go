package workload

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/spockchaos/spockchaos/topology"
	"github.com/spockchaos/spockchaos/topology/link"
	"github.com/spockchaos/spockchaos/workload/history"
)

// TestOnServer shares one server, and gives each test a database of its own.
func TestOnServer(t *testing.T) {
	s := startServer(t)
	for _, test := range []struct {
		name string
		run  func(*testing.T, *server)
	}{
		{"RunUndisturbed", testRunUndisturbed},
		{"RunUnderFaults", testRunUnderFaults},
		{"RunOverCrashes", testRunOverCrashes},
		{"ConflictsSayWhatTheyOverwrote", testConflictsSayWhatTheyOverwrote},
		{"Fence", testFence},
		{"UnansweredCommitsAreResolved", testUnansweredCommitsAreResolved},
		{"RunEndsWhileNodeIsGone", testRunEndsWhileNodeIsGone},
		{"RunStopsWhenTheHistoryCannotBeWritten", testRunStopsWhenTheHistoryCannotBeWritten},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, s.fresh(t)) })
	}
}

// row is one ledger row with the moment its transaction committed.
type row struct {
	value     int64
	committed time.Time
}

// verify compares the database with the histories: outcomes are true, numbers commit
// in order and never after a later one was sent, and every table holds exactly what
// the transactions that are there did.
func verify(t *testing.T, s *server, w history.Workload, r *running) (total Counts) {
	t.Helper()
	ctx := context.Background()
	c := s.connect()
	want := newModel()
	for _, p := range w.Pools {
		for i := range int64(p.Accounts) {
			want.accounts[p.FirstAccount+i] = p.InitialBalance
		}
	}
	histories := 0
	for _, d := range w.Sessions {
		rows := map[int64]row{}
		q, err := c.Query(ctx, "select n, value, pg_xact_commit_timestamp(xmin) from chaos.ledger where session = $1", d.ID)
		if err != nil {
			t.Fatal(err)
		}
		var n int64
		var x row
		if _, err := pgx.ForEachRow(q, []any{&n, &x.value, &x.committed}, func() error { rows[n] = x; return nil }); err != nil {
			t.Fatal(err)
		}
		h, err := history.Open(filepath.Join(r.dir, strconv.Itoa(d.ID)+history.FileExt))
		if err != nil {
			t.Fatal(err)
		}
		histories++
		if h.Header() != (history.Header{Session: d.ID, Node: d.Node, Workload: d.Workload, Seed: w.Seed}) {
			t.Fatalf("header %+v", h.Header())
		}
		var op history.Op
		var last row
		var lastN int64
		for {
			if err := h.Next(&op); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			if last.committed.After(op.InvokedAt) {
				t.Errorf("session %d: %d committed at %v, after %d was invoked at %v", d.ID, lastN, last.committed, op.N, op.InvokedAt)
			}
			got, there := rows[op.N]
			delete(rows, op.N)
			switch op.Outcome {
			case history.OK:
				total.OK++
				if !there {
					t.Errorf("session %d n %d is ok and not there", d.ID, op.N)
				}
			case history.Fail:
				total.Fail++
				if there {
					t.Errorf("session %d n %d is fail (%s) and there", d.ID, op.N, op.SQLState)
				}
			default:
				total.Unknown++
			}
			if !there {
				continue
			}
			if got.value != history.LedgerValue(w.Seed, d.ID, op.N) {
				t.Errorf("session %d n %d has value %d", d.ID, op.N, got.value)
			}
			if got.committed.Before(op.InvokedAt.Add(-time.Millisecond)) {
				t.Errorf("session %d n %d was committed before it was invoked", d.ID, op.N)
			}
			last, lastN = got, op.N
			want.effects(w.Seed, d.ID, op.N, op.Effects)
		}
		if h.Truncated() {
			t.Errorf("session %d: history ends in the middle of a record", d.ID)
		}
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
		if len(rows) > 0 {
			t.Errorf("session %d: %d rows that no operation wrote", d.ID, len(rows))
		}
	}
	got := readTables(t, c)
	for k, v := range got.counters {
		if v == 0 {
			delete(got.counters, k)
		}
	}
	if !got.equal(want) {
		t.Errorf("tables are not what the committed transactions wrote: registers %t, pads %t, counters %t, accounts %t, events %t, bulk %t, versions %t",
			equal(got.registers, want.registers), equal(got.pads, want.pads), equal(got.counters, want.counters),
			equal(got.accounts, want.accounts), equal(got.events, want.events), equal(got.bulk, want.bulk), equal(got.versions, want.versions))
	}
	for _, e := range r.logs.All() { // what a session knew of its rows was wrong
		t.Errorf("%s %v", e.Message, e.ContextMap())
	}
	if snap := r.stats.Snapshot(); snap.Counts != total {
		t.Errorf("stats say %+v, histories %+v", snap.Counts, total)
	}
	return total
}

func readTables(t *testing.T, c *pgx.Conn) *model {
	t.Helper()
	m := newModel()
	read := func(sql string, to []any, f func()) {
		q, err := c.Query(context.Background(), sql)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := pgx.ForEachRow(q, to, func() error { f(); return nil }); err != nil {
			t.Fatal(sql, err)
		}
	}
	var a, b, d, e, f int64
	read("select key, session, n, value, "+history.PadSumSQL+" from chaos.register", []any{&a, &b, &d, &e, &f}, func() {
		m.registers[a], m.pads[a] = [3]int64{b, d, e}, f
	})
	read("select key, value from chaos.counter", []any{&a, &b}, func() { m.counters[a] = b })
	read("select id, balance from chaos.account", []any{&a, &b}, func() { m.accounts[a] = b })
	read("select session, n, seq from chaos.event", []any{&a, &b, &d}, func() { m.events[[3]int64{a, b, d}]++ })
	read("select session, n, count(*) from chaos.bulk group by 1, 2", []any{&a, &b, &d}, func() { m.bulk[[2]int64{a, b}] = d })
	read("select session, n, key, value from chaos.version", []any{&a, &b, &d, &e}, func() { m.versions[[3]int64{a, b, d}] = e })
	return m
}

func setup(t testing.TB, s *server, w history.Workload) {
	t.Helper()
	for range 2 { // it may be called again
		if err := Setup(context.Background(), s.connect(), w); err != nil {
			t.Fatal(err)
		}
	}
}

func testRunUndisturbed(t *testing.T, s *server) {
	w := Describe(11, []string{"n1"}, Config{Sessions: 8})
	setup(t, s, w)
	r := s.run(w, Config{LargeRows: 2000, Rate: 800})
	began := time.Now()
	await(t, "3000 operations", func() bool { return r.stats.Snapshot().OK > 3000 })
	if took := time.Since(began); took < 3*time.Second {
		t.Errorf("3000 operations in %v at 800 a second", took)
	}
	r.stop()
	total := verify(t, s, w, r)
	if total.Fail > 0 || total.Unknown > 8 { // the end may cut one of each session
		t.Errorf("%+v without any fault", total)
	}
	if l := r.stats.Snapshot().Latency; l.P50 <= 0 || l.Max < l.P99 {
		t.Errorf("latency %+v", l)
	}
}

// On one node every write but a key's last was overwritten by exactly one other, which says so; and the last is the row's.
func testConflictsSayWhatTheyOverwrote(t *testing.T, s *server) {
	cfg := Config{Sessions: 6, Workloads: []string{Conflicts}}
	w := Describe(11, []string{"n1"}, cfg)
	setup(t, s, w)
	r := s.run(w, cfg)
	await(t, "2000 operations", func() bool { return r.stats.Snapshot().OK > 2000 })
	r.stop()
	if total := verify(t, s, w, r); total.Fail > 0 {
		t.Errorf("%+v without any fault", total)
	}
	var writes, keys, wrong int
	err := s.connect().QueryRow(context.Background(), `with w as (
		select session, n, key, value, prev_session, prev_n from chaos.version
		union all select 0, $1::bigint, i, 0, 0, 0 from generate_series(1, $2::bigint) i), -- what was there at first
	next as (select a.*, (select count(*) from w b where b.key = a.key and b.prev_session = a.session and b.prev_n = a.n) as times from w a)
	select (select count(*) from w), (select count(*) from chaos.conflict),
	       (select count(*) from next full join chaos.conflict c using (key, session, n, value, prev_session, prev_n)
	         where next.times is distinct from (c.key is null)::int)`, history.InitialWrite, w.Conflict.Hot).Scan(&writes, &keys, &wrong)
	if err != nil || wrong > 0 || keys < 100 || writes < 3*keys {
		t.Errorf("%d writes of %d keys, %d not in their chain: %v", writes, keys, wrong, err)
	}
}

// Everything that a link and a server can do to a session, at random moments.
func testRunUnderFaults(t *testing.T, s *server) {
	w := Describe(12, []string{"n1"}, Config{Sessions: 8, SharedCounters: true})
	setup(t, s, w)
	r := s.run(w, Config{LargeRows: 2000, OpTimeout: 400 * time.Millisecond, ConnectTimeout: time.Second})
	c := s.connect()
	ctx := context.Background()
	rnd := rand.New(rand.NewPCG(12, 12))
	await(t, "first operations", func() bool { return r.stats.Snapshot().OK > 200 })
	for i := range 40 {
		switch i % 5 {
		case 0, 1:
			if _, err := c.Exec(ctx, `select pg_terminate_backend(pid) from pg_stat_activity
				where application_name like 'chaos-s%' and random() < 0.5`); err != nil {
				t.Fatal(err)
			}
		case 2:
			s.link.Set(link.Direction(rnd.IntN(2)), link.Gate{CutAfter: 1 + rnd.Int64N(5000)})
		case 3:
			if _, err := s.link.Reset(ctx); err != nil {
				t.Fatal(err)
			}
		case 4:
			s.link.Set(link.Direction(rnd.IntN(2)), link.Gate{Stall: true})
			// Long enough that operations in flight are given up.
			before := r.stats.Snapshot()
			await(t, "operations given up", func() bool {
				now := r.stats.Snapshot()
				return now.Unknown+now.Fail > before.Unknown+before.Fail
			})
			s.link.Heal()
		}
		ok := r.stats.Snapshot().OK
		await(t, "operations between faults", func() bool { return r.stats.Snapshot().OK > ok+20 })
		s.link.Heal()
	}
	r.stop()
	total := verify(t, s, w, r)
	t.Logf("%+v", total)
	if total.Unknown == 0 || total.Fail == 0 || total.OK < 800 {
		t.Errorf("%+v", total)
	}
}

func testRunOverCrashes(t *testing.T, s *server) {
	w := Describe(13, []string{"n1"}, Config{Sessions: 8})
	setup(t, s, w)
	r := s.run(w, Config{LargeRows: 2000})
	for _, mode := range []topology.StopMode{topology.StopImmediate, topology.StopFast, topology.StopImmediate} {
		ok := r.stats.Snapshot().OK
		await(t, "operations after a start", func() bool { return r.stats.Snapshot().OK > ok+300 })
		s.stop(mode)
		s.start()
	}
	ok := r.stats.Snapshot().OK
	await(t, "operations after a start", func() bool { return r.stats.Snapshot().OK > ok+300 })
	r.stop()
	t.Logf("%+v", verify(t, s, w, r))
}

// A session's own old backend, stuck in a transaction, is terminated; somebody else
// who has the lock is waited for.
func testFence(t *testing.T, s *server) {
	w := Describe(14, []string{"n1"}, Config{Sessions: 1, Workloads: []string{Ledger}})
	setup(t, s, w)
	ctx := context.Background()

	old, err := pgx.Connect(ctx, s.dsn()+" application_name=chaos-s1")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = old.Close(ctx) }()
	if _, err := old.Exec(ctx, "select pg_advisory_lock(7001, 1); begin; insert into chaos.event values (1, 99, 99)"); err != nil {
		t.Fatal(err)
	}
	other := s.connect()
	if _, err := other.Exec(ctx, "select pg_advisory_lock(7001, 2)"); err != nil {
		t.Fatal(err)
	}
	w.Sessions = append(w.Sessions, history.Session{ID: 2, Node: "n1", Workload: Ledger})
	r := s.run(w, Config{Rate: 200})
	await(t, "operations of the session whose old backend had the lock", func() bool { return r.stats.Snapshot().OK > 20 })
	if _, err := old.Exec(ctx, "commit"); err == nil {
		t.Error("the old backend could commit")
	}
	count := func(session int) (n int) {
		if err := other.QueryRow(ctx, "select count(*) from chaos.ledger where session = $1", session).Scan(&n); err != nil {
			t.Fatal("somebody else's backend was terminated: ", err)
		}
		return n
	}
	if count(2) > 0 {
		t.Error("a session worked without its lock")
	}
	if _, err := other.Exec(ctx, "select pg_advisory_unlock(7001, 2)"); err != nil {
		t.Fatal(err)
	}
	await(t, "operations of the session whose lock was taken", func() bool { return count(2) > 0 })
	r.stop()
	verify(t, s, w, r)
}

// A commit that happened but was not answered is unknown in the history, and known to the session.
func testUnansweredCommitsAreResolved(t *testing.T, s *server) {
	w := Describe(15, []string{"n1"}, Config{Sessions: 4, Workloads: []string{Register}})
	setup(t, s, w)
	r := s.run(w, Config{HeavyMax: -1, OpTimeout: 300 * time.Millisecond})
	for range 12 {
		ok := r.stats.Snapshot()
		await(t, "operations", func() bool { return r.stats.Snapshot().OK > ok.OK+40 })
		s.link.Set(link.Downstream, link.Gate{Stall: true})
		await(t, "something given up", func() bool {
			now := r.stats.Snapshot()
			return now.Unknown+now.Fail >= ok.Unknown+ok.Fail+1
		})
		s.link.Heal()
	}
	r.stop()
	total := verify(t, s, w, r)
	present := 0
	for _, d := range w.Sessions {
		h, err := history.Open(filepath.Join(r.dir, strconv.Itoa(d.ID)+history.FileExt))
		if err != nil {
			t.Fatal(err)
		}
		var op history.Op
		for h.Next(&op) == nil {
			if op.Outcome == history.Unknown {
				var there bool
				if err := s.connect().QueryRow(context.Background(),
					"select exists (select from chaos.ledger where session = $1 and n = $2)", d.ID, op.N).Scan(&there); err != nil {
					t.Fatal(err)
				}
				if there {
					present++
				}
			}
		}
		_ = h.Close()
	}
	t.Logf("%+v, %d of the unknown are there", total, present)
	if present == 0 || total.Fail == 0 {
		t.Errorf("the test met no committed unknown transaction (%d) or no failed one (%d)", present, total.Fail)
	}
}

// A node that is gone for good is tried for as long as the run lasts, and no longer.
func testRunEndsWhileNodeIsGone(t *testing.T, s *server) {
	w := Describe(16, []string{"n1"}, Config{Sessions: 4})
	setup(t, s, w)
	r := s.run(w, Config{})
	await(t, "operations", func() bool { return r.stats.Snapshot().OK > 50 })
	s.stop(topology.StopImmediate)
	sum := func() int64 { c := r.stats.Snapshot().Counts; return c.OK + c.Fail + c.Unknown }
	at := sum()
	await(t, "the operations in flight ended", func() bool { now := sum(); same := now == at; at = now; return same })
	if snap := r.stats.Snapshot(); snap.Fail+snap.Unknown > 8 {
		t.Errorf("sessions drew operations without a connection: %+v", snap.Counts)
	}
	began := time.Now()
	r.stop()
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v to end", took)
	}
	s.start()
	verify(t, s, w, r)
}

// Without room for the history nothing is sent.
func testRunStopsWhenTheHistoryCannotBeWritten(t *testing.T, s *server) {
	w := Describe(17, []string{"n1"}, Config{Sessions: 1, Workloads: []string{Ledger}})
	setup(t, s, w)
	dir := t.TempDir()
	o := RunOptions{Workload: w, DSN: func(string) string { return s.linkDSN() }, HistoryDir: dir}
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	if err := Run(ctx, o); err != nil {
		t.Fatal(err)
	}
	if err := Run(context.Background(), o); err == nil {
		t.Fatal("a history was overwritten")
	}
}
