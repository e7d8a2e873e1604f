package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"github.com/spockchaos/spockchaos/chaos/watch"
	"github.com/spockchaos/spockchaos/checker"
	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/topology/engine"
	"github.com/spockchaos/spockchaos/workload/history"
)

// TestConflictsExplainWhatIsMissing makes conflicts on two real nodes: an update that finds no row, one that finds a newer row, one
// that takes the place of what was written, a delete that finds no row. The engine's entries must explain each of
// the writes that are then missing, and nothing else; without the entries they are findings of the usual kinds.
func TestConflictsExplainWhatIsMissing(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	k := newConflicts(ctx, t)
	spock := k.engine.Name() == "spock"

	first := k.sessions["n1"].key(1)  // update that finds no row
	second := k.sessions["n1"].key(2) // update that finds a newer row
	third := k.sessions["n2"].key(1)  // write that is overwritten
	fourth := k.sessions["n1"].key(3) // delete that finds no row
	counter := k.counter("n1")
	k.write("n1", insert(first, 11), insert(second, 12), insert(fourth, 14))
	k.write("n2", insert(third, 13))
	k.level()

	k.alone("n2", "DELETE FROM chaos.register WHERE key = $1", first)
	if !spock { // Spock discards the whole transaction
		k.alone("n2", "DELETE FROM chaos.counter WHERE key = $1", counter)
		k.write("n1", update(first, 21), history.Effect{Kind: history.CounterAdd, Key: counter, Value: 3})
	} else {
		k.write("n1", update(first, 21))
	}
	k.await("n1", "n2")

	var pad string
	if err := k.conns["n2"].QueryRow(ctx, "SELECT pad FROM chaos.register WHERE key = $1", fourth).Scan(&pad); err != nil {
		t.Fatal(err)
	}
	k.alone("n2", "DELETE FROM chaos.register WHERE key = $1", fourth)
	k.write("n1", history.Effect{Kind: history.RegisterDelete, Key: fourth})
	k.await("n1", "n2")
	k.alone("n2", "INSERT INTO chaos.register VALUES ($1, $2, 1, 14, $3)", fourth, k.sessions["n1"].id, pad)

	k.stop("n2", "n1")
	k.write("n1", update(second, 22))
	k.alone("n2", "UPDATE chaos.register SET value = value WHERE key = $1", second) // the old row, newer than the update
	k.start("n2", "n1")
	k.await("n1", "n2")

	k.stop("n1", "n2")
	k.write("n2", update(third, 23))
	k.exec("n1", "UPDATE chaos.register SET value = value WHERE key = $1", third) // the old row, newer than the update
	k.write("n1", history.Effect{Kind: history.EventInsert, Value: 1})
	k.await("n1", "n2")
	k.start("n1", "n2")
	k.await("n2", "n1")

	explanations := k.finish()
	for _, e := range explanations {
		t.Logf("%s: %s: %+v\n\t%s", e.Node, e.Source, e.Row, e.Entry)
	}
	want := []string{
		fmt.Sprintf("explained_loss n1 register %d", third),
		fmt.Sprintf("explained_loss n2 register %d", second),
		fmt.Sprintf("explained_loss n2 register %d", third),
		fmt.Sprintf("explained_loss n2 register %d", fourth),
	}
	plain := []string{
		fmt.Sprintf("torn n1 register %d", third), fmt.Sprintf("torn n2 register %d", second), fmt.Sprintf("torn n2 register %d", third),
		fmt.Sprintf("resurrected n2 register %d", fourth),
	}
	if spock {
		want = append(want, fmt.Sprintf("explained_loss n2 session %d n 2", k.sessions["n1"].id), fmt.Sprintf("torn n2 register %d", first))
		plain = append(plain, fmt.Sprintf("lost n2 session %d n 2", k.sessions["n1"].id), fmt.Sprintf("torn n2 register %d", first))
	} else {
		want = append(want, fmt.Sprintf("explained_loss n2 counter %d", counter), fmt.Sprintf("explained_loss n2 register %d", first))
		plain = append(plain, fmt.Sprintf("torn n2 counter %d", counter), fmt.Sprintf("torn n2 register %d", first))
	}
	k.expect("with the entries", want)
	if err := os.Remove(filepath.Join(k.round.dir, rundir.ExplanationsFile)); err != nil {
		t.Fatal(err)
	}
	k.expect("without the entries", plain)
}

func insert(key, value int64) history.Effect {
	return history.Effect{Kind: history.RegisterInsert, Key: key, Value: value}
}

func update(key, value int64) history.Effect {
	return history.Effect{Kind: history.RegisterUpdate, Key: key, Value: value}
}

// conflicts is a round on two nodes that a test writes to by itself, with the history of it.
type conflicts struct {
	*harness
	t        *testing.T
	ctx      context.Context
	round    *round
	conns    map[string]*pgx.Conn
	sessions map[string]*handSession
}

type handSession struct {
	id   int
	n    int64
	hist *history.Writer
}

func (s *handSession) key(i int64) int64 { return int64(s.id)<<32 | i }

func newConflicts(ctx context.Context, t *testing.T) *conflicts {
	t.Helper()
	cfg := testConfig(t)
	cfg.Nodes = 2
	h := &harness{cfg: cfg, deps: testDeps(t, zap.WarnLevel), strategy: sqlStrategy{}, limits: defaultLimits(), started: time.Now()}
	t.Cleanup(func() {
		if err := h.close(false); err != nil {
			t.Error(err)
		}
	})
	if err := h.setUp(ctx, RecoverySQL{}); err != nil {
		t.Fatal(err)
	}
	if err := h.cluster.Restore(ctx); err != nil {
		t.Fatal(err)
	}
	k := &conflicts{harness: h, t: t, ctx: ctx, conns: map[string]*pgx.Conn{}, sessions: map[string]*handSession{}}
	k.round = &round{harness: h, dir: rundir.RoundDir(cfg.Dir, 1), log: h.deps.Log}
	k.round.state = rundir.Round{Number: 1, Kind: rundir.KindCrash, Seed: cfg.Seed, Survivors: []string{"n1", "n2"}, Complete: true, Quiesced: true}
	if err := k.round.markLogs(ctx); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(k.round.dir, rundir.HistoryDir), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, node := range []string{"n1", "n2"} {
		c, err := pgx.Connect(ctx, h.cluster.Node(node).DSN())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { engine.HangUp(c) })
		k.conns[node] = c
		s := &handSession{id: int(h.sessionIDs(node)[0])}
		if s.hist, err = history.Create(filepath.Join(k.round.dir, rundir.HistoryDir, fmt.Sprintf("%d.hist", s.id)),
			history.Header{Session: s.id, Node: node, Workload: "register", Seed: cfg.Seed}); err != nil {
			t.Fatal(err)
		}
		k.sessions[node] = s
	}
	return k
}

func (k *conflicts) counter(node string) int64 {
	for _, p := range k.description.Pools {
		if p.Node == node {
			return p.FirstCounter
		}
	}
	k.t.Fatalf("%s has no pool", node)
	return 0
}

func (k *conflicts) exec(node, statement string, args ...any) {
	k.t.Helper()
	tag, err := k.conns[node].Exec(k.ctx, statement, args...)
	if err != nil || tag.RowsAffected() != 1 {
		k.t.Fatalf("%s on %s: %v, %s", statement, node, err, tag)
	}
}

// alone is exec of what stays on the node: engines do not forward what seems to come from elsewhere.
func (k *conflicts) alone(node, statement string, args ...any) {
	k.t.Helper()
	for _, s := range []string{"SELECT pg_replication_origin_create('elsewhere') WHERE NOT EXISTS (SELECT FROM pg_replication_origin WHERE roname = 'elsewhere')",
		"SELECT pg_replication_origin_session_setup('elsewhere')", "BEGIN", "SELECT pg_replication_origin_xact_setup(pg_current_wal_insert_lsn(), clock_timestamp())"} {
		if _, err := k.conns[node].Exec(k.ctx, s); err != nil {
			k.t.Fatal(err)
		}
	}
	k.exec(node, statement, args...)
	if _, err := k.conns[node].Exec(k.ctx, "COMMIT; SELECT pg_replication_origin_session_reset()"); err != nil {
		k.t.Fatal(err)
	}
}

// write makes the next transaction of a node's session, as the workload would.
func (k *conflicts) write(node string, effects ...history.Effect) {
	k.t.Helper()
	s := k.sessions[node]
	s.n++
	if err := s.hist.Invoke(s.n, time.Now(), effects); err != nil {
		k.t.Fatal(err)
	}
	err := pgx.BeginFunc(k.ctx, k.conns[node], func(tx pgx.Tx) error {
		do := func(rows int64, statement string, args ...any) error {
			tag, err := tx.Exec(k.ctx, statement, args...)
			if err == nil && tag.RowsAffected() != rows {
				err = fmt.Errorf("%s: %s", statement, tag)
			}
			return err
		}
		errs := []error{do(1, "INSERT INTO chaos.ledger VALUES ($1, $2, $3)", s.id, s.n, history.LedgerValue(k.cfg.Seed, s.id, s.n))}
		for _, e := range effects {
			switch e.Kind {
			case history.RegisterInsert:
				errs = append(errs, do(1, "INSERT INTO chaos.register VALUES ($1, $2, $3, $4, $5)", e.Key, s.id, s.n, e.Value, history.Pad(k.cfg.Seed, e.Key, s.n)))
			case history.RegisterUpdate:
				errs = append(errs, do(1, "UPDATE chaos.register SET session = $2, n = $3, value = $4 WHERE key = $1", e.Key, s.id, s.n, e.Value))
			case history.RegisterDelete:
				errs = append(errs, do(1, "DELETE FROM chaos.register WHERE key = $1", e.Key))
			case history.CounterAdd:
				errs = append(errs, do(1, "UPDATE chaos.counter SET value = value + $2 WHERE key = $1", e.Key, e.Value))
			case history.EventInsert:
				errs = append(errs, do(e.Value, "INSERT INTO chaos.event SELECT $1, $2, i FROM generate_series(0, $3::int - 1) i", s.id, s.n, e.Value))
			default:
				errs = append(errs, fmt.Errorf("no statement for %v", e))
			}
		}
		return errors.Join(errs...)
	})
	if err == nil {
		err = s.hist.Complete(s.n, time.Now(), history.OK, "")
	}
	if err != nil {
		k.t.Fatal(err)
	}
}

// await waits until everything that from has committed is applied on at.
func (k *conflicts) await(from, at string) {
	k.t.Helper()
	var end string
	if err := k.conns[from].QueryRow(k.ctx, "SELECT pg_current_wal_insert_lsn()::text").Scan(&end); err != nil {
		k.t.Fatal(err)
	}
	err := poll(k.ctx, 20*time.Second, "what "+from+" wrote on "+at, func(ctx context.Context) (all bool, err error) {
		// A row of the engine's own makes the position pass what came before it.
		if _, err := k.conns[from].Exec(ctx, "UPDATE "+engine.ProbeTable+" SET n = n + 1 WHERE node = $1", from); err != nil {
			return false, err
		}
		subs, err := k.engine.Subscriptions(ctx, k.conns[at])
		if err != nil {
			return false, err
		}
		lsn, err := engine.Progress(ctx, k.conns[at], subs[slices.IndexFunc(subs, func(s engine.Subscription) bool { return s.Provider == from })])
		if err != nil {
			return false, err
		}
		err = k.conns[at].QueryRow(ctx, "SELECT $1::pg_lsn > $2::pg_lsn", lsn, end).Scan(&all)
		return all, err
	})
	if err != nil {
		k.t.Fatal(err)
	}
}

func (k *conflicts) level() {
	k.t.Helper()
	k.await("n1", "n2")
	k.await("n2", "n1")
}

// stop and start what a node gets of a provider.
func (k *conflicts) stop(node, provider string) {
	k.t.Helper()
	if err := k.engine.Disable(k.ctx, k.conns[node], provider); err != nil {
		k.t.Fatal(err)
	}
}

func (k *conflicts) start(node, provider string) {
	k.t.Helper()
	if err := k.engine.Enable(k.ctx, k.conns[node], provider); err != nil {
		k.t.Fatal(err)
	}
}

// finish writes the round's files as a run would, and returns the explanations.
func (k *conflicts) finish() (all []rundir.Explanation) {
	k.t.Helper()
	for node, c := range k.conns {
		if err := errors.Join(k.sessions[node].hist.Close(), watch.Snapshot(k.ctx, c, filepath.Join(k.round.dir, rundir.FinalDir, node))); err != nil {
			k.t.Fatal(err)
		}
	}
	path := filepath.Join(k.round.dir, rundir.ExplanationsFile)
	if err := errors.Join(k.round.write(), k.round.explain(k.ctx), rundir.EachLine(path, func(e rundir.Explanation) error {
		all = append(all, e)
		return nil
	})); err != nil {
		k.t.Fatal(err)
	}
	return all
}

// expect compares the findings about data, as "kind node key", with those that there should be.
func (k *conflicts) expect(what string, want []string) {
	k.t.Helper()
	var got []string
	for _, f := range checkRound(k.t, k.cfg.Dir, 1).Findings {
		if f.Kind == checker.SlotMissing { // there was no watcher
			continue
		}
		for _, e := range f.Evidence["first"].([]map[string]any) {
			got = append(got, fmt.Sprintf("%s %s %v", f.Kind, f.Node, e["key"]))
		}
		k.t.Log(f.Summary)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		k.t.Errorf("%s:\n%s\nwant\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// A conflict of rows that are applied by differences does away with nothing; a change that failed is missing.
func TestConflictsOfSharedCountersAreNotKept(t *testing.T) {
	file := filepath.Join(t.TempDir(), "explanations.jsonl")
	out, err := rundir.OpenLines(file)
	if err != nil {
		t.Fatal(err)
	}
	save := func(shared int, table string, resolution engine.Resolution) {
		t.Helper()
		r := &round{harness: &harness{description: history.Workload{SharedCounters: history.Counters{First: 5, Count: shared}}}}
		v := engine.Version{Columns: map[string]int64{"key": 5, "value": 1, "session": 1, "n": 1}, Origin: "n1", CommittedAt: time.Now()}
		if err := r.saveConflict(out, "n2", engine.Conflict{Table: table, Operation: engine.Update, Resolution: resolution, Remote: v, Local: &v, Text: fmt.Sprintf("%d %s %s", shared, table, resolution)}); err != nil {
			t.Fatal(err)
		}
	}
	for _, resolution := range []engine.Resolution{engine.KeepLocal, engine.ApplyRemote, engine.Discarded} {
		for _, table := range []string{"chaos.counter", "chaos.register"} {
			save(0, table, resolution)
			save(1, table, resolution)
		}
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if kept := strings.Count(string(b), "\n"); kept != 10 || strings.Contains(string(b), "1 chaos.counter keep_local") || strings.Contains(string(b), "1 chaos.counter apply_remote") {
		t.Errorf("%d of 12 kept:\n%s", kept, b)
	}
}
