package chaos

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"go.uber.org/zap"

	"github.com/spockchaos/spockchaos/checker"
	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/sql"
	"github.com/spockchaos/spockchaos/topology/engine"
	"github.com/spockchaos/spockchaos/topology/local/localtest"
	"github.com/spockchaos/spockchaos/topology/wait"
)

// TestNativeStrategy drives the rescue of testdata/native_rescue.sql: first whole rounds, then what can go wrong in a single attempt.
func TestNativeStrategy(t *testing.T) {
	stub, err := os.ReadFile("testdata/native_rescue.sql")
	if err != nil {
		t.Fatal(err)
	}
	cfg := testConfig(t)
	cfg.Seed, cfg.Rate, cfg.Chaos = 1, 250, 4500*time.Millisecond // with this seed n1's WAL lies behind n2's
	h := &harness{cfg: cfg, deps: testDeps(t, zap.WarnLevel), strategy: nativeStrategy{}, limits: defaultLimits(), started: time.Now()}
	h.cfg.Rescue = StrategyNative
	h.limits.quiesce, h.limits.rescue, h.limits.attempt = 5*time.Second, 12*time.Second, 10*time.Second
	ctx := t.Context()
	t.Cleanup(func() {
		if err := h.close(false); err != nil {
			t.Error(err)
		}
	})
	if err := h.setUp(ctx, RecoverySQL{}); err != nil {
		t.Fatal(err)
	}
	if err := h.install(ctx, stub); err != nil {
		t.Fatal(err)
	}
	plan := plantedRound(cfg)
	number := 0
	round := func(t *testing.T, helpers ...func(context.Context) error) (checker.RoundResult, rundir.Rescue) {
		number++
		plan.Number = number
		helpCtx, helping := newBackground(ctx)
		for _, f := range helpers {
			helping.goRun(func() error { return f(helpCtx) })
		}
		err := h.runRound(ctx, number, plan)
		if err = errors.Join(err, helping.stop()); err != nil {
			t.Fatal(err)
		}
		res := checkRound(t, cfg.Dir, number)
		for _, f := range res.Findings {
			t.Logf("%s on %s: %s", f.Kind, f.Node, f.Summary)
		}
		var rescues []rundir.Rescue
		err = rundir.EachLine(filepath.Join(rundir.RoundDir(cfg.Dir, number), rundir.RescuesFile), func(r rundir.Rescue) error {
			rescues = append(rescues, r)
			return nil
		})
		if err != nil || len(rescues) != 1 {
			t.Fatalf("rescues %v: %v", rescues, err)
		}
		t.Logf("%q", rescues[0].Log)
		return res, rescues[0]
	}
	r := Recovery{Failed: "n1", Source: "n2", Target: "n3", Coordinator: "n2"}
	t.Run("a round", func(t *testing.T) {
		res, rescue := round(t, h.fakeManager(r, true))
		if res.Verdict != checker.Pass || rescue.Transactions == 0 || rescue.Strategy != StrategyNative {
			t.Errorf("verdict %s, %v, %+v", res.Verdict, res.Reasons, rescue)
		}
		wantLines(t, rescue.Log, "clone_recovery_slot on n2: slot spock_rescue_clone_", "stop position", "suspend_all_peer_subs_for_rescue on n3: true",
			"create_rescue_subscription on n3 from slot spock_rescue_clone_", "spock_rescue_sub_n3_n2 is applying", "is gone after", "resume_all_peer_subs_post_rescue on n3: true", "pg_drop_replication_slot on n2")
	})
	t.Run("a round without an effect", func(t *testing.T) {
		res, rescue := round(t, h.fakeManager(r, false))
		if got := kinds(res.Findings); got[checker.Lost] == 0 || got[checker.RescueIncomplete] != 1 || len(got) != 3 || !rescue.OK {
			t.Errorf("findings %v, rescue %+v", got, rescue)
		}
		wantSummary(t, res, checker.RescueIncomplete, fmt.Sprintf("brought back none of the %d writes of n1 that n2 has and n3 lacked", rescue.MissingBefore))
	})
	// What the slot of the branch would be advanced to, if it were: a peer's progress, which is a position in another node's WAL.
	t.Run("a round with another's positions", func(t *testing.T) {
		res, _ := round(t, h.fakeManager(r, false), h.confirmForeign)
		wantSummary(t, res, checker.SlotOverran, "is a position in n1's WAL and none in n2's")
		wantSummary(t, res, checker.SlotOverran, "it is exactly n3's progress for n1 (remote_lsn)")
	})
	if err := h.cluster.Restore(ctx); err != nil {
		t.Fatal(err)
	}
	t.Run("attempts", func(t *testing.T) { h.testAttempts(t, r) })
}

func wantSummary(t *testing.T, res checker.RoundResult, kind checker.Kind, want string) {
	t.Helper()
	for _, f := range res.Findings {
		if f.Kind == kind && strings.Contains(f.Summary, want) {
			return
		}
	}
	t.Errorf("no %s says %q", kind, want)
}

func wantLines(t *testing.T, log []string, want ...string) {
	t.Helper()
	rest := log
	for _, w := range want {
		for len(rest) > 0 && !strings.Contains(rest[0], w) {
			rest = rest[1:]
		}
		if len(rest) == 0 {
			t.Errorf("%q is not in its place in %q", w, log)
			return
		}
	}
}

// fakeManager is what the manager worker of a server with a rescue of its own does on the target: it lets the rescue subscription apply (or not), marks it,
// and drops it with its slot.
func (h *harness) fakeManager(r Recovery, applies bool) func(context.Context) error {
	return func(ctx context.Context) error {
		for wait.For(ctx, 50*time.Millisecond) == nil {
			// The servers are down between rounds, and n3 before its rescue is none of ours.
			_ = onNode(ctx, h.cluster, r.Target, func(c *pgx.Conn) error {
				var slot string
				if err := c.QueryRow(ctx, "SELECT slot FROM spock.fake_rescue").Scan(&slot); err != nil {
					return err
				}
				if applies {
					if _, err := c.Exec(ctx, "CALL spock.recovery_as_it_was($1, $2, $3, $4, $5)", pgx.QueryExecModeSimpleProtocol,
						r.Failed, r.Source, h.cluster.LinkDSN(r.Target, r.Source), r.Target, h.cluster.LinkDSN(r.Source, r.Target)); err != nil {
						return err
					}
				}
				return h.fakeEnd(ctx, c, r, slot)
			})
		}
		return nil
	}
}

func (h *harness) fakeEnd(ctx context.Context, c *pgx.Conn, r Recovery, slot string) error {
	if _, err := c.Exec(ctx, "UPDATE spock.fake_rescue SET pending = true"); err != nil {
		return err
	}
	err := onNode(ctx, h.cluster, r.Source, func(c *pgx.Conn) error {
		_, err := c.Exec(ctx, "SELECT pg_drop_replication_slot($1)", slot)
		return err
	})
	if err != nil {
		return err
	}
	_, err = c.Exec(ctx, "DELETE FROM spock.fake_rescue")
	return err
}

// confirmForeign moves n2's recovery slot to n3's progress for n1 once n3 lags in the round that begins (n1 was lost in the one before): by what a client of the slot may say that it has, which the server does not compare
// with its own WAL.
func (h *harness) confirmForeign(ctx context.Context) error {
	var need string
	for need == "" {
		if err := wait.For(ctx, 50*time.Millisecond); err != nil {
			return errors.New("n3 never lagged")
		}
		// The servers may be down yet.
		if onNode(ctx, h.cluster, "n1", func(c *pgx.Conn) error { return c.Ping(ctx) }) != nil {
			continue
		}
		_ = onNode(ctx, h.cluster, "n3", func(c *pgx.Conn) error {
			subs, err := h.engine.Subscriptions(ctx, c)
			if err != nil {
				return err
			}
			for _, s := range subs {
				if s.Provider == "n1" && s.Status == "disabled" {
					need, err = engine.Progress(ctx, c, s)
				}
			}
			return err
		})
	}
	return confirm(ctx, h.cluster.Node("n2").DSN(), need)
}

// confirm says to the walsender of a recovery slot that everything up to a position is flushed.
func confirm(ctx context.Context, dsn, position string) error {
	at, err := rundir.ParseLSN(position)
	if err != nil {
		return err
	}
	cfg, err := pgconn.ParseConfig(dsn)
	if err != nil {
		return err
	}
	cfg.RuntimeParams["replication"] = "database"
	for { // a manager may be at the slot
		err := confirmOnce(ctx, cfg, at)
		var server *pgconn.PgError
		if !errors.As(err, &server) || server.Code != "55006" || wait.For(ctx, 20*time.Millisecond) != nil {
			return err
		}
	}
}

func confirmOnce(ctx context.Context, cfg *pgconn.Config, at rundir.LSN) error {
	c, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close(ctx) }()
	slot := sql.RecoverySlotName(cfg.Database)
	c.Frontend().Send(&pgproto3.Query{String: "START_REPLICATION SLOT " + slot + " LOGICAL 0/0 (proto_version '1', publication_names 'spock_recovery')"})
	if err := c.Frontend().Flush(); err != nil {
		return err
	}
	for streaming := false; !streaming; {
		m, err := c.ReceiveMessage(ctx)
		if err != nil {
			return err
		}
		switch m := m.(type) {
		case *pgproto3.ErrorResponse:
			return pgconn.ErrorResponseToPgError(m)
		case *pgproto3.CopyBothResponse:
			streaming = true
		}
	}
	// Standby status update: written, flushed, applied, the time, and whether an answer is wanted ("Streaming Replication Protocol").
	update := []byte{'r'}
	for _, v := range []uint64{uint64(at), uint64(at), uint64(at), 0} {
		update = binary.BigEndian.AppendUint64(update, v)
	}
	c.Frontend().Send(&pgproto3.CopyData{Data: append(update, 1)})
	if err := c.Frontend().Flush(); err != nil {
		return err
	}
	for { // until it answers: then it has taken it
		m, err := c.ReceiveMessage(ctx)
		if err != nil {
			return err
		}
		if d, ok := m.(*pgproto3.CopyData); ok && len(d.Data) > 0 && d.Data[0] == 'k' {
			return nil
		}
	}
}

// testAttempts makes single attempts, with n1 as a failed node that runs.
func (h *harness) testAttempts(t *testing.T, r Recovery) {
	exec := func(ctx context.Context, node string, statements ...string) {
		t.Helper()
		err := onNode(ctx, h.cluster, node, func(c *pgx.Conn) error {
			for _, s := range statements {
				if _, err := c.Exec(ctx, s); err != nil {
					return fmt.Errorf("%s: %w", s, err)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	suspended := func(ctx context.Context) (n int) {
		t.Helper()
		err := onNode(ctx, h.cluster, r.Target, func(c *pgx.Conn) error {
			return c.QueryRow(ctx, "SELECT count(*) FROM spock.subscription WHERE sub_rescue_suspended").Scan(&n)
		})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for _, c := range []struct {
		name          string
		failed        string // n1 if it is ""
		node          string // where before and after are run
		before, after string
		manager       string // is run on the target once a rescue subscription is there; "-": nobody does anything
		err           string
		said          []string
		suspended     int
	}{
		{name: "nothing to rescue", failed: "n4", said: []string{"no rescue needed: n3 has no subscription to n4"}},
		{name: "no slot", node: "n2", before: "UPDATE spock.fake_setting SET clones = false", after: "UPDATE spock.fake_setting SET clones = true",
			err: "clone_recovery_slot on n2 did not succeed: No active recovery slot found for cloning"},
		{name: "another rescue", node: "n3", before: "SELECT spock.create_rescue_subscription('n3', 'n2', 'other')", after: "DELETE FROM spock.fake_rescue",
			err: "target n3 has rescue subscription spock_rescue_sub_n3_n2 already"},
		{name: "it fails", manager: "UPDATE spock.fake_rescue SET failed = true", err: "the server marked the rescue subscription as failed",
			said: []string{"is marked as failed", "is gone after", "resume_all_peer_subs_post_rescue on n3: true", "pg_drop_replication_slot on n2: 1 slots"}},
		{name: "it never ends", manager: "-", node: "n3", after: "DELETE FROM spock.fake_rescue; SELECT spock.resume_all_peer_subs_post_rescue(NULL)",
			err: "rescue subscription spock_rescue_sub_n3_n2 is still applying after", said: []string{"is applying"}, suspended: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			what := r
			what.Failed = cmp.Or(c.failed, r.Failed)
			if c.before != "" {
				exec(ctx, c.node, c.before)
			}
			managerCtx, manager := newBackground(ctx)
			seen := make(chan struct{})
			limit := 20 * time.Second
			switch c.manager {
			case "":
			case "-":
				limit = time.Second
			default:
				manager.goRun(func() error { return h.fakeFailure(managerCtx, r, c.manager, seen) })
			}
			attempt, cancelAttempt := context.WithTimeout(ctx, limit)
			defer cancelAttempt()
			var said []string
			err := nativeStrategy{}.Rescue(attempt, h.cluster, what, func(line string) {
				if said = append(said, line); strings.Contains(line, "marked as failed") {
					close(seen)
				}
			})
			if err := manager.stop(); err != nil {
				t.Fatal(err)
			}
			if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("%v, want %q", err, c.err)
			}
			wantLines(t, said, c.said...)
			if n := suspended(ctx); n != c.suspended {
				t.Errorf("%d subscriptions are suspended, want %d", n, c.suspended)
			}
			if c.after != "" {
				exec(ctx, c.node, strings.Split(c.after, "; ")...)
			}
		})
	}
	t.Run("the call", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		exec(ctx, r.Coordinator, `CREATE PROCEDURE spock.recovery(failed_node_name text, source_node_name text, source_dsn text, target_node_name text, target_dsn text,
				stop_lsn pg_lsn DEFAULT NULL, skip_lsn pg_lsn DEFAULT NULL, stop_timestamp timestamptz DEFAULT NULL, verb boolean DEFAULT false) LANGUAGE plpgsql AS $$
			BEGIN
				RAISE NOTICE '% % % % %', failed_node_name, source_node_name, target_node_name, verb, stop_lsn IS NULL AND skip_lsn IS NULL AND stop_timestamp IS NULL;
				RAISE NOTICE '%', (SELECT n FROM dblink(source_dsn, 'SELECT node_name FROM spock.recovery_node') AS d(n text));
				RAISE INFO '%', (SELECT n FROM dblink(target_dsn, 'SELECT node_name FROM spock.recovery_node') AS d(n text));
			END $$`)
		var said []string
		if err := (nativeStrategy{}).Rescue(ctx, h.cluster, r, func(line string) { said = append(said, line) }); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(said, ", "); got != "n1 n2 n3 t t, n2, n3" {
			t.Errorf("it was told %s", got)
		}
	})
}

// fakeFailure changes the rescue subscription when it is there, and drops it when that was seen.
func (h *harness) fakeFailure(ctx context.Context, r Recovery, change string, seen <-chan struct{}) error {
	return onNode(ctx, h.cluster, r.Target, func(c *pgx.Conn) error {
		for {
			tag, err := c.Exec(ctx, change)
			if err != nil {
				return err
			}
			if tag.RowsAffected() > 0 {
				break
			}
			if err := wait.For(ctx, 20*time.Millisecond); err != nil {
				return err
			}
		}
		select {
		case <-seen:
		case <-ctx.Done():
			return ctx.Err()
		}
		_, err := c.Exec(ctx, "DELETE FROM spock.fake_rescue")
		return err
	})
}

// TestModes is about --tracking and --rescue together.
func TestModes(t *testing.T) {
	for _, c := range []struct{ tracking, rescue, topology, err string }{
		{"", "", "local", ""},
		{"sql", "sql", "compose", ""},
		{"sql", "exec:true", "local", ""},
		{"native", "native", "local", ""},
		{"native", "native", "docker", ""},
		{"native", "exec:true", "local", ""},
		{"native", "sql", "local", "--tracking native goes with --rescue native or exec:COMMAND"},
		{"native", "", "local", "--tracking native goes with --rescue native or exec:COMMAND"},
		{"sql", "native", "local", "--rescue native needs --tracking native"},
		{"", "native", "local", "--rescue native needs --tracking native"},
		{"native", "native", "compose", "--tracking native is for --topology local or docker"},
		{"mine", "sql", "local", `tracking "mine" is not known`},
	} {
		err := checkModes(Config{Tracking: c.tracking, Rescue: c.rescue, Topology: c.topology})
		if (err == nil) != (c.err == "") || err != nil && !strings.HasPrefix(err.Error(), c.err) {
			t.Errorf("tracking %q, rescue %q, topology %q: %v, want %q", c.tracking, c.rescue, c.topology, err, c.err)
		}
	}
}

// TestNativeIsRefused asks servers for their own tracking that have none: pglogical's, and, where those are real, a released Spock's.
func TestNativeIsRefused(t *testing.T) {
	localtest.BinDir(t)
	cfg := testConfig(t)
	cfg.Tracking, cfg.Rescue = TrackingNative, StrategyNative
	err := Run(t.Context(), cfg, testDeps(t, zap.WarnLevel))
	var usage *UsageError
	if !errors.As(err, &usage) || strings.Contains(err.Error(), "\n") {
		t.Fatalf("%v", err)
	}
	t.Log(err)
	if _, err := os.Stat(cfg.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is there: %v", cfg.Dir, err)
	}
}

// TestNativeServer makes a run on a build with slot and rescue of its own: it must come to a verdict, whatever that is, by what that server did.
func TestNativeServer(t *testing.T) {
	bin := os.Getenv("SPOCKCHAOS_SPOCK_NATIVE_PG_BIN")
	if bin == "" {
		t.Skip("SPOCKCHAOS_SPOCK_NATIVE_PG_BIN names no installation of PostgreSQL with a Spock that tracks and rescues by itself")
	}
	cfg := testConfig(t, "wal_recycle")
	cfg.PGBin, cfg.Engine, cfg.Tracking, cfg.Rescue = bin, "spock", TrackingNative, StrategyNative
	if err := Run(t.Context(), cfg, testDeps(t, zap.InfoLevel)); err != nil {
		t.Fatal(err)
	}
	res, err := checker.Check(t.Context(), cfg.Dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(res.Verdict, res.Reasons)
	kept := map[string]bool{} // nodes whose slot keeps WAL
	err = rundir.EachLine(filepath.Join(rundir.RoundDir(cfg.Dir, 1), rundir.SamplesFile), func(s rundir.Sample) error {
		if s.Error == "" && s.Slot != nil && s.Slot.Restart != 0 {
			kept[s.Node] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	missing := map[string]bool{}
	for _, f := range res.Rounds[0].Findings {
		t.Logf("%s on %s: %s", f.Kind, f.Node, f.Summary)
		if f.Kind == checker.SlotMissing {
			missing[f.Node] = true
		}
	}
	for _, n := range []string{"n1", "n2", "n3"} {
		if kept[n] == missing[n] {
			t.Errorf("%s: slot keeps WAL %t, slot_missing %t", n, kept[n], missing[n])
		}
	}
	err = rundir.EachLine(filepath.Join(rundir.RoundDir(cfg.Dir, 1), rundir.RescuesFile), func(r rundir.Rescue) error {
		t.Logf("%q", r.Log)
		wantLines(t, r.Log, "clone_recovery_slot on "+r.Source)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
