package chaos

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"github.com/spockchaos/spockchaos/chaos/schedule"
	"github.com/spockchaos/spockchaos/checker"
	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/sql"
	"github.com/spockchaos/spockchaos/topology/local/localtest"
	"github.com/spockchaos/spockchaos/workload"
	"github.com/spockchaos/spockchaos/workload/history"
)

// TestPlantedDefects runs one loss round for each broken procedure in checker/testdata/defects:
// the round must fail with a kind that the file names. A round with nothing broken comes first, and
// must pass: otherwise the findings would prove nothing. With conflicts that round may show what the engine itself
// does (docs/findings.md, 11), which is found by another rule.
func TestPlantedDefects(t *testing.T) {
	files, err := filepath.Glob("../checker/testdata/defects/*.sql")
	if err != nil || len(files) < 8 {
		t.Fatalf("%d defects found: %v", len(files), err)
	}
	cfg := testConfig(t)
	cfg.Rate, cfg.Chaos = 250, 4500*time.Millisecond
	usual := cfg.Workloads
	cfg.Workloads = append(slices.Clone(usual), workload.Conflicts) // its first rows must be there
	h := &harness{cfg: cfg, deps: testDeps(t, zap.WarnLevel), strategy: sqlStrategy{}, limits: defaultLimits(), started: time.Now()}
	// Many of the rounds end with rescues that fail and survivors that never agree: no need to wait long for that. The
	// round with nothing broken shows that the limits are long enough.
	h.limits.quiesce = 5 * time.Second
	h.limits.rescue, h.limits.attempt = 12*time.Second, 10*time.Second
	ctx := context.Background()
	t.Cleanup(func() {
		if err := h.close(false); err != nil {
			t.Error(err)
		}
	})
	if err := h.setUp(ctx, RecoverySQL{}); err != nil {
		t.Fatal(err)
	}
	h.chooseWorkloads(t, usual)
	plan := plantedRound(cfg)
	number := 0
	round := func(t *testing.T) checker.RoundResult {
		number++
		plan.Number = number
		if err := h.runRound(ctx, number, plan); err != nil {
			t.Fatal(err)
		}
		res := checkRound(t, cfg.Dir, number)
		for _, f := range res.Findings {
			t.Logf("%s on %s: %s", f.Kind, f.Node, f.Summary)
		}
		return res
	}
	t.Run("none", func(t *testing.T) {
		if res := round(t); len(res.Findings) > 0 || res.Verdict != checker.Pass {
			t.Fatalf("a round with nothing broken is %s: %v, %v", res.Verdict, res.Reasons, kinds(res.Findings))
		}
	})
	t.Run("none, with conflicts", func(t *testing.T) {
		h.chooseWorkloads(t, cfg.Workloads)
		res := round(t)
		for _, f := range res.Findings {
			if f.Evidence["rule"] != "conflict_causality" {
				t.Errorf("nothing is broken, and %s was found: %s", f.Kind, f.Summary)
			}
		}
		if ops := res.Operations.ByWorkload[workload.Conflicts]; ops == nil || ops.OK < 50 {
			t.Errorf("operations of conflicts: %+v", ops)
		}
	})
	t.Run("something to rescue is awaited", h.testLead)
	psql := filepath.Join(localtest.BinDir(t), "psql")
	h.runRunbooks(t, round, fmt.Sprintf(`%s -X -q -v ON_ERROR_STOP=1 "$SPOCKCHAOS_COORDINATOR_DSN" -c "CALL spock.recovery('$SPOCKCHAOS_FAILED',
		'$SPOCKCHAOS_SOURCE', '$SPOCKCHAOS_TARGET_TO_SOURCE_DSN', '$SPOCKCHAOS_TARGET', '$SPOCKCHAOS_COORDINATOR_TO_TARGET_DSN', verb := true)"`, psql))
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".sql"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			want := expected(t, string(text))
			h.chooseFor(t, string(text))
			if err := h.install(ctx, text); err != nil {
				t.Fatal(err)
			}
			res := round(t)
			if res.Verdict != checker.FailVerdict {
				t.Fatalf("verdict %s: %v", res.Verdict, res.Reasons)
			}
			if !slices.ContainsFunc(res.Findings, func(f checker.Finding) bool {
				return slices.Contains(want, string(f.Kind)) || slices.Contains(want, fmt.Sprintf("%s/%v", f.Kind, f.Evidence["rule"]))
			}) {
				t.Fatalf("findings %v, want one of %v", kinds(res.Findings), want)
			}
		})
	}
}

// runRunbooks runs a round with a runbook that works, and one with a runbook that says it did.
func (h *harness) runRunbooks(t *testing.T, round func(*testing.T) checker.RoundResult, works string) {
	run := func(t *testing.T, command string) checker.RoundResult {
		h.strategy, h.cfg.Rescue = execStrategy{command}, strategyExec+command
		t.Cleanup(func() { h.strategy, h.cfg.Rescue = sqlStrategy{}, StrategySQL })
		return round(t)
	}
	t.Run("runbook", func(t *testing.T) {
		if res := run(t, works); len(res.Findings) > 0 || res.Verdict != checker.Pass {
			t.Fatalf("a round with a runbook is %s: %v, %v", res.Verdict, res.Reasons, kinds(res.Findings))
		}
	})
	t.Run("runbook does nothing", func(t *testing.T) {
		if got := kinds(run(t, "true").Findings); got[checker.Lost] == 0 || got[checker.RescueIncomplete] == 0 {
			t.Fatalf("findings %v", got)
		}
	})
}

// plantedRound loses n1 while n3 lags behind n2, and keeps n2 from asking n3 how far it has come from
// before the lag: so n2's slot stands well before what n3 has, and a rescue has both to skip and to replay.
func plantedRound(cfg Config) schedule.Round {
	return schedule.Round{
		Seed: cfg.Seed, Kind: rundir.KindLoss, Nodes: nodeNames(cfg.Nodes), Chaos: cfg.Chaos,
		Failed: "n1", Target: "n3", Source: "n2", Coordinator: "n2", LagID: 2, LossID: 3,
		LagAt: 2 * time.Second, LossAt: cfg.Chaos,
		Faults: []rundir.PlannedFault{
			{ID: 1, Name: "partition", Target: "n2<>n3", Parameters: map[string]any{}, At: time.Second, For: 2500 * time.Millisecond},
			{ID: 2, Name: "subscription_disabled", Target: "n3>n1", Parameters: map[string]any{}, At: 2 * time.Second},
			{ID: 3, Name: "loss", Target: "n1", Parameters: map[string]any{}, At: cfg.Chaos},
		},
	}
}

// expected reads the kinds, or kinds with rules, from a defect's first line.
func expected(t *testing.T, text string) []string {
	t.Helper()
	first, _, _ := strings.Cut(text, "\n")
	list, ok := strings.CutPrefix(first, "-- expect: ")
	if !ok {
		t.Fatalf("the first line does not say what to expect: %s", first)
	}
	return strings.Split(list, ", ")
}

// chooseFor chooses the workloads for a defect until the test ends: without one that its second line says would hide
// it, or with one that shows it.
func (h *harness) chooseFor(t *testing.T, text string) {
	t.Helper()
	_, rest, _ := strings.Cut(text, "\n")
	second, _, _ := strings.Cut(rest, "\n")
	if name, found := strings.CutPrefix(second, "-- with: "); found {
		h.chooseWorkloads(t, append(slices.Clone(h.cfg.Workloads), name))
	}
	if name, found := strings.CutPrefix(second, "-- without: "); found {
		left := slices.DeleteFunc(slices.Clone(h.cfg.Workloads), func(w string) bool { return w == name })
		if len(left) == len(h.cfg.Workloads) {
			t.Fatalf("there is no workload %s", name)
		}
		h.chooseWorkloads(t, left)
	}
}

// chooseWorkloads lays the sessions out for other workloads, until the test ends.
func (h *harness) chooseWorkloads(t *testing.T, names []string) {
	t.Helper()
	was, configured := h.description, h.cfg.Workloads
	set := func(d history.Workload, workloads []string) {
		h.description, h.record.Workload, h.cfg.Workloads = d, d, workloads
		if err := h.saveRun(); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { set(was, configured) })
	cfg := h.workloadConfig()
	cfg.Workloads = names
	set(workload.Describe(h.cfg.Seed, nodeNames(h.cfg.Nodes), cfg), names)
}

// install puts sql/ and then extra on every node of the saved cluster.
func (h *harness) install(ctx context.Context, extra []byte) error {
	if err := h.cluster.Restore(ctx); err != nil {
		return err
	}
	err := eachNode(ctx, h.cluster, func(ctx context.Context, c *pgx.Conn) error {
		return sql.Install(ctx, c, h.engine.Name(), extra)
	})
	if err != nil {
		return fmt.Errorf("install a defect: %w", err)
	}
	return h.cluster.Save(ctx)
}
