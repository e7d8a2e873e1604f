package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/spockchaos/spockchaos/chaos"
	"github.com/spockchaos/spockchaos/checker"
	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/cmd/cli"
	"github.com/spockchaos/spockchaos/reports"
	"github.com/spockchaos/spockchaos/reports/reportstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bench is an App whose runs are written by reportstest and whose checks return
// what the test wants.
type bench struct {
	*cli.App
	out, err lockedBuffer
	signals  chan<- os.Signal
	exits    chan int
	got      []chaos.Config
	result   checker.Result
	spec     reportstest.Spec
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newBench(t *testing.T) *bench {
	b := &bench{exits: make(chan int, 1), spec: reportstest.Spec{Seed: 7, Rounds: 2, Nodes: 3, Samples: 10}}
	b.result = checker.Result{Verdict: checker.Pass}
	t.Chdir(t.TempDir())
	b.App = &cli.App{
		Stdin: strings.NewReader(""), Stdout: &b.out, Stderr: &b.err, Clock: reportstest.Start,
		RandomSeed: func() uint64 { return 4711 }, Executable: "/bin/spockchaos", Version: "v0",
		Run: func(_ context.Context, cfg chaos.Config, deps chaos.Deps) error {
			b.got = append(b.got, cfg)
			if err := deps.Begun(); err != nil {
				return err
			}
			spec := b.spec
			spec.Seed = cfg.Seed
			if _, err := reportstest.Write(cfg.Dir, spec); err != nil {
				return err
			}
			for n := range spec.Rounds {
				deps.RoundDone(context.Background(), n+1)
			}
			return nil
		},
		Check: func(context.Context, string) (checker.Result, error) { return b.result, nil },
		CheckRound: func(_ context.Context, _ string, n int) (checker.RoundResult, error) {
			return checker.RoundResult{Number: n, Verdict: checker.Pass}, nil
		},
		Watchdog: func(io.Reader) int { return 5 },
		History:  func(w io.Writer, path string) error { _, err := fmt.Fprintln(w, path); return err },
		Faults:   []cli.Item{{Name: "partition", Summary: "a pair"}, {Name: "kill", Summary: "SIGKILL"}, {Name: "pause", Summary: "SIGSTOP"}},
		Workloads: []cli.Item{
			{Name: "ledger", Summary: "rows"}, {Name: "bank", Summary: "transfers"}},
		Engines: []cli.Item{{Name: "auto"}, {Name: "pglogical"}}, Topologies: []cli.Item{{Name: "local"}},
		Terminal: func(io.Writer) (func() (int, int), bool) { return nil, false },
		Notify:   func(c chan<- os.Signal) func() { b.signals = c; return func() {} },
		Exit:     func(code int) { b.exits <- code },
	}
	return b
}

func (b *bench) main(args ...string) int { return b.Main(context.Background(), args) }

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestBadInput(t *testing.T) {
	full := t.TempDir()
	write(t, filepath.Join(full, "x"), "x")
	file := write(t, filepath.Join(t.TempDir(), "file"), "x")
	yaml := func(text string) string { return write(t, filepath.Join(t.TempDir(), "c.yaml"), text) }
	for _, c := range []struct {
		name string
		args []string
		env  []string
		want []string // all of them are in the message
	}{
		{"unknown command", []string{"rnu"}, nil, []string{`unknown command "rnu"`, "run?"}},
		{"unknown flag", []string{"run", "--node", "3"}, nil, []string{"--node", "spockchaos run --help"}},
		{"unknown short flag", []string{"run", "-x"}, nil, []string{"-x"}},
		{"stray argument", []string{"run", "fast"}, nil, []string{`"fast"`, "no arguments"}},
		{"nodes too many", []string{"run", "--nodes", "10"}, nil, []string{"--nodes", "from 2 to 9"}},
		{"nodes too few", []string{"run", "--nodes", "1"}, nil, []string{"--nodes", "from 2 to 9"}},
		{"nodes no number", []string{"run", "--nodes", "three"}, nil, []string{"--nodes", "from 2 to 9"}},
		{"duration negative", []string{"run", "--duration", "-1m"}, nil, []string{"--duration", "more than 0"}},
		{"duration zero", []string{"run", "--duration", "0s"}, nil, []string{"--duration", "more than 0"}},
		{"duration without unit", []string{"run", "--duration", "30"}, nil, []string{"--duration", "unit", "30m"}},
		{"duration nonsense", []string{"run", "--duration", "soon"}, nil, []string{"--duration", "30m"}},
		{"duration too long", []string{"run", "--duration", "99999h"}, nil, []string{"--duration", "at most"}},
		{"chaos negative", []string{"run", "--chaos", "-5"}, nil, []string{"--chaos", "more than 0"}},
		{"chaos not finite", []string{"run", "--chaos", "NaN"}, nil, []string{"--chaos", "out of range"}},
		{"rate negative", []string{"run", "--rate", "-1"}, nil, []string{"--rate", "from 0"}},
		{"rate NaN", []string{"run", "--rate", "nan"}, nil, []string{"--rate", "from 0"}},
		{"sessions zero", []string{"run", "--sessions", "0"}, nil, []string{"--sessions", "from 1"}},
		{"seed negative", []string{"run", "--seed", "-1"}, nil, []string{"--seed", "whole number"}},
		{"seed too large", []string{"run", "--seed", "18446744073709551616"}, nil, []string{"--seed", "whole number"}},
		{"unknown fault", []string{"run", "--faults", "kil"}, nil, []string{"--faults", `"kil"`, "kill?", "spockchaos faults"}},
		{"empty fault", []string{"run", "--faults", "kill,,pause"}, nil, []string{"--faults", "empty name"}},
		{"no fault left", []string{"run", "--faults", "kill,-kill"}, nil, []string{"--faults", "leaves no fault"}},
		{"unknown workload", []string{"run", "--workload", "tpcc"}, nil, []string{"--workload", `"tpcc"`, "spockchaos workloads"}},
		{"workload left out", []string{"run", "--workload", "-bank"}, nil, []string{"--workload", `"-bank"`}},
		{"unknown engine", []string{"run", "--engine", "bucardo"}, nil, []string{"--engine", "pglogical"}},
		{"unknown topology", []string{"run", "--topology", "docker"}, nil, []string{"--topology", "local"}},
		{"unknown version", []string{"run", "--pg-ver", "14"}, nil, []string{"--pg-ver", "15, 16, 17, 18"}},
		{"unknown rounds", []string{"run", "--rounds", "stale"}, nil, []string{"--rounds", "fresh"}},
		{"unknown log format", []string{"run", "--log-format", "xml"}, nil, []string{"--log-format", "json"}},
		{"quiet and verbose", []string{"run", "-q", "-v"}, nil, []string{"quiet and verbose"}},
		{"bool with nonsense", []string{"run", "--keep=maybe"}, nil, []string{"--keep", "true or false"}},
		{"report dir not empty", []string{"run", "--report-dir", full}, nil, []string{"--report-dir", full, "not empty"}},
		{"report dir is a file", []string{"run", "--report-dir", file}, nil, []string{"--report-dir", file, "not a directory"}},
		{"report dir below a file", []string{"run", "--report-dir", file + "/a/b"}, nil, []string{"--report-dir", "not a directory"}},
		{"report dir in proc", []string{"run", "--report-dir", "/proc/spockchaos"}, nil, []string{"--report-dir"}},
		{"recovery sql missing", []string{"run", "--recovery-sql", "/no/such.sql"}, nil, []string{"--recovery-sql", "/no/such.sql", "no such file"}},
		{"recovery sql directory", []string{"run", "--recovery-sql", full}, nil, []string{"--recovery-sql", "is not a file"}},
		{"pg bin missing", []string{"run", "--pg-bin", "/no/such"}, nil, []string{"--pg-bin", "/no/such", "no such file"}},
		{"config missing", []string{"run", "--config", "/no/such.yaml"}, nil, []string{"--config", "/no/such.yaml", "no such file"}},
		{"config is a directory", []string{"run", "--config", full}, nil, []string{"--config", "directory"}},
		{"config unknown key", []string{"run", "--config", yaml("nodes: 3\n\nnodez: 4\n")}, nil, []string{"c.yaml:3:", `"nodez"`, "nodes?"}},
		{"config wrong type", []string{"run", "--config", yaml("# x\nnodes: many\n")}, nil, []string{"c.yaml:2:", "nodes", "must be a number, not text"}},
		{"config list for a number", []string{"run", "--config", yaml("nodes: [3]\n")}, nil, []string{"c.yaml:1:", "must be a number, not a list"}},
		{"config number for a bool", []string{"run", "--config", yaml("keep: 1\n")}, nil, []string{"c.yaml:1:", "keep", "must be true or false, not a number"}},
		{"config null", []string{"run", "--config", yaml("nodes:\n")}, nil, []string{"c.yaml:1:", "not nothing"}},
		{"config out of range", []string{"run", "--config", yaml("nodes: 12\n")}, nil, []string{"c.yaml:1:", "nodes", "from 2 to 9"}},
		{"config bad but overridden", []string{"run", "--nodes", "3", "--config", yaml("nodes: 12\n")}, nil, []string{"c.yaml:1:", "from 2 to 9"}},
		{"config twice", []string{"run", "--config", yaml("nodes: 3\nrate: 5\nnodes: 4\n")}, nil, []string{"c.yaml:3:", "nodes"}},
		{"config not YAML", []string{"run", "--config", yaml("nodes: 3\nfaults: [kill\n")}, nil, []string{"c.yaml:", "is not YAML"}},
		{"config a list", []string{"run", "--config", yaml("- nodes\n")}, nil, []string{"c.yaml:1:", "setting: value"}},
		{"config two documents", []string{"run", "--config", yaml("nodes: 3\n---\nnodes: 4\n")}, nil, []string{"c.yaml:3:", "second document"}},
		{"config unknown fault", []string{"run", "--config", yaml("faults:\n- kill\n- kil\n")}, nil, []string{"c.yaml:", "faults", `"kil"`}},
		{"variable wrong", []string{"run"}, []string{"SPOCKCHAOS_NODES=0"}, []string{"SPOCKCHAOS_NODES=0", "from 2 to 9"}},
		{"variable names a missing config", []string{"run"}, []string{"SPOCKCHAOS_CONFIG=/no/such.yaml"}, []string{"/no/such.yaml"}},
		{"check without a directory", []string{"check"}, nil, []string{"one run directory"}},
		{"check of two", []string{"check", "a", "b"}, nil, []string{"one run directory"}},
		{"check of nothing", []string{"check", "/no/such"}, nil, []string{"/no/such", "no such directory"}},
		{"check of another directory", []string{"check", full}, nil, []string{full, "not a run directory"}},
		{"replay of another directory", []string{"replay", full}, nil, []string{full, "not a run directory"}},
		{"replay no times", []string{"replay", full, "--times", "0"}, nil, []string{"--times"}},
		{"history without a directory", []string{"history"}, nil, []string{"one run directory"}},
		{"history of round 0", []string{"history", full, "--round", "0"}, nil, []string{"--round 0"}},
		{"history of a missing round", []string{"history", full, "--round", "9"}, nil, []string{"--round 9", "no such round"}},
		{"config command with nonsense", []string{"config", "--nodes", "x"}, nil, []string{"--nodes"}},
		{"help on nothing", []string{"help", "nothing"}, nil, []string{`"nothing"`}},
		{"faults with an argument", []string{"faults", "kill"}, nil, []string{"no arguments"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			b.Environ = c.env
			if code := b.main(c.args...); code != cli.ExitNotRun {
				t.Errorf("exit status %d, want 2", code)
			}
			message := b.err.String()
			for _, want := range c.want {
				if !strings.Contains(message, want) {
					t.Errorf("message %q lacks %q", message, want)
				}
			}
			if n := strings.Count(message, "\n"); n < 1 || n > 3 {
				t.Errorf("message has %d lines: %q", n, message)
			}
			if len(b.got) > 0 {
				t.Error("something was run")
			}
			if entries, _ := os.ReadDir("."); len(entries) > 0 {
				t.Errorf("left behind: %v", entries)
			}
		})
	}
}

func TestExitStatusFollowsTheVerdict(t *testing.T) {
	for verdict, want := range map[checker.Verdict]int{checker.Pass: 0, checker.FailVerdict: 1, checker.Inconclusive: 3} {
		b := newBench(t)
		b.result.Verdict = verdict
		if code := b.main("run"); code != want {
			t.Errorf("run, %s: exit status %d, want %d; %s", verdict, code, want, b.err.String())
		}
		dir := b.got[0].Dir
		if code := b.main("check", dir); code != want {
			t.Errorf("check, %s: exit status %d, want %d; %s", verdict, code, want, b.err.String())
		}
	}
}

func TestRunPrintsSeedFirstAndVerdictLast(t *testing.T) {
	b := newBench(t)
	b.result = checker.Result{Verdict: checker.FailVerdict, Rounds: []checker.RoundResult{{Number: 1, Verdict: checker.FailVerdict, Findings: []checker.Finding{
		{Kind: checker.Lost, Round: 1, Node: "n3", Key: "session 3 n 217", Summary: "gone\nfor\x1b[2Jgood", Count: 12}}}}}
	if code := b.main("run", "--report-dir", "out"); code != cli.ExitFindings {
		t.Fatalf("exit status %d; %s", code, b.err.String())
	}
	out := b.out.String()
	if !strings.HasPrefix(out, "seed 4711\n") {
		t.Errorf("output does not begin with the seed: %q", out)
	}
	for _, want := range []string{"verdict: FAIL", "lost ×12  round 1  n3  session 3 n 217: gone for [2Jgood", "10 of 12 took effect", "24,960 transactions", filepath.Join("out", "report.html"), "spockchaos replay out"} {
		if !strings.Contains(out, want) {
			t.Errorf("output lacks %q:\n%s", want, out)
		}
	}
}

// The report is on disk, as not checked yet, before any check begins.
func TestReportIsSavedBeforeTheCheck(t *testing.T) {
	b := newBench(t)
	checked := 0
	look := func(dir string) {
		checked++
		var rep reports.Report
		if err := rundir.ReadJSON(filepath.Join(dir, rundir.ReportJSON), &rep); err != nil {
			t.Fatal(err)
		}
		if rep.Checked || rep.Verdict != checker.Inconclusive {
			t.Errorf("saved verdict %s", rep.Verdict)
		}
		if _, err := os.Stat(filepath.Join(dir, rundir.ReportHTML)); err != nil {
			t.Error(err)
		}
	}
	b.CheckRound = func(_ context.Context, dir string, n int) (checker.RoundResult, error) {
		look(dir)
		return checker.RoundResult{Number: n}, nil
	}
	b.Check = func(_ context.Context, dir string) (checker.Result, error) { look(dir); return b.result, nil }
	if code := b.main("run", "--report-dir", "out"); code != 0 {
		t.Fatalf("exit status %d; %s", code, b.err.String())
	}
	if checked != 3 {
		t.Errorf("%d checks, want 3", checked)
	}
	var rep reports.Report
	if err := rundir.ReadJSON(filepath.Join("out", rundir.ReportJSON), &rep); err != nil || !rep.Checked || rep.Verdict != checker.Pass {
		t.Errorf("final report: %v, checked %v, %s", err, rep.Checked, rep.Verdict)
	}
}

func TestWhatARunIsGiven(t *testing.T) {
	b := newBench(t)
	conf := write(t, filepath.Join(t.TempDir(), "c.yaml"), "nodes: 4\nrate: 100\nsessions: 5\nfaults: [pause, kill]\nchaos: 7\npg-ver: 17\n")
	b.Environ = []string{"SPOCKCHAOS_RATE=200", "SPOCKCHAOS_SESSIONS=6", "SPOCKCHAOS_CONFIG=" + conf, "SPOCKCHAOS_DURATOIN=1m", "SPOCKCHAOS_KEEP=", "SPOCKCHAOS_TEST_X=1"}
	if code := b.main("run", "--sessions", "7", "--seed", "9"); code != 0 {
		t.Fatalf("exit status %d; %s", code, b.err.String())
	}
	g := b.got[0]
	want := chaos.Config{
		Duration: 30 * time.Minute, Seed: 9, Nodes: 4, Engine: "auto", Topology: "local", PGVer: "17", Workloads: []string{"ledger", "bank"},
		Sessions: 7, Rate: 200, Faults: []string{"kill", "pause"}, Chaos: 7 * time.Second, Rounds: "fresh", Tracking: "sql", Rescue: "sql",
		Dir: filepath.Join("spockchaos-runs", "20260301-120000-9"), ManagerPeriod: time.Second, ComposeFile: "docker-compose.yml",
	}
	effective := g.Effective
	g.Effective = nil
	if fmt.Sprintf("%+v", g) != fmt.Sprintf("%+v", want) {
		t.Errorf("got  %+v\nwant %+v", g, want)
	}
	if effective["sessions"] != 7 || effective["chaos"] != "7s" || effective["seed"] != uint64(9) {
		t.Errorf("effective %v", effective)
	}
	if !strings.Contains(b.err.String(), "SPOCKCHAOS_DURATOIN is no setting") || strings.Contains(b.err.String(), "TEST_X") || strings.Contains(b.err.String(), "KEEP") {
		t.Errorf("messages %q", b.err.String())
	}
}

func TestConfigFeedsItself(t *testing.T) {
	b := newBench(t)
	args := []string{"--seed", "18446744073709551615", "--nodes", "5", "--faults", "-pause", "--chaos", "90", "--rate", "0.5", "--keep", "--report-dir", "a b: #c", "--pg-ver", "18", "--duration", "1h30m"}
	if code := b.main(append([]string{"config"}, args...)...); code != 0 {
		t.Fatalf("exit status %d; %s", code, b.err.String())
	}
	first := b.out.String()
	again := newBench(t)
	file := write(t, filepath.Join(t.TempDir(), "c.yaml"), first)
	if code := again.main("config", "--config", file); code != 0 {
		t.Fatalf("exit status %d; %s", code, again.err.String())
	}
	if again.out.String() != first {
		t.Errorf("first\n%s\nthen\n%s", first, again.out.String())
	}
	for _, want := range []string{"seed: 18446744073709551615", "nodes: 5", "duration: 1h30m", "chaos: 1m30s", "- kill"} {
		if !strings.Contains(first, want) {
			t.Errorf("lacks %q:\n%s", want, first)
		}
	}
}

func TestRunThatCouldNotBegin(t *testing.T) {
	b := newBench(t)
	b.Run = func(context.Context, chaos.Config, chaos.Deps) error {
		return fmt.Errorf("set up: %w", &chaos.UsageError{Err: errors.New("no pglogical in /usr/lib/postgresql/15")})
	}
	if code := b.main("run"); code != cli.ExitNotRun {
		t.Errorf("exit status %d", code)
	}
	if got := b.err.String(); got != "spockchaos: no pglogical in /usr/lib/postgresql/15\n" {
		t.Errorf("message %q", got)
	}
	if got := b.out.String(); got != "" {
		t.Errorf("a run that did not begin says %q on standard output", got)
	}
}

func TestRunThatBreaksOffIsStillJudged(t *testing.T) {
	for verdict, want := range map[checker.Verdict]int{checker.Pass: cli.ExitNotRun, checker.FailVerdict: cli.ExitFindings} {
		b := newBench(t)
		b.result.Verdict = verdict
		run := b.Run
		b.Run = func(ctx context.Context, cfg chaos.Config, deps chaos.Deps) error {
			return errors.Join(run(ctx, cfg, deps), errors.New("round 3: disk full"))
		}
		if code := b.main("run"); code != want {
			t.Errorf("%s: exit status %d, want %d", verdict, code, want)
		}
		if !strings.Contains(b.out.String(), "verdict:") || !strings.Contains(b.err.String(), "the run ended early: round 3: disk full") {
			t.Errorf("output %q, messages %q", b.out.String(), b.err.String())
		}
	}
}

func TestPanicIsOneClearLine(t *testing.T) {
	b := newBench(t)
	b.Run = func(context.Context, chaos.Config, chaos.Deps) error { panic("boom") }
	if code := b.main("run"); code != cli.ExitNotRun {
		t.Errorf("exit status %d", code)
	}
	if !strings.HasPrefix(b.err.String(), "spockchaos: internal error: boom\n") {
		t.Errorf("message %q", b.err.String())
	}
}

// The first signal ends the run but not the judging; the second ends the process.
func TestSignals(t *testing.T) {
	b := newBench(t)
	run := b.Run
	b.Run = func(ctx context.Context, cfg chaos.Config, deps chaos.Deps) error {
		b.signals <- syscall.SIGINT
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Second):
			t.Error("the first signal did not end the context")
		}
		b.signals <- syscall.SIGTERM
		select {
		case code := <-b.exits:
			if code != cli.ExitInterrupted {
				t.Errorf("exit status %d after the second signal", code)
			}
		case <-time.After(20 * time.Second):
			t.Error("the second signal did not end the process")
		}
		return run(ctx, cfg, deps)
	}
	b.Check = func(ctx context.Context, _ string) (checker.Result, error) { return b.result, ctx.Err() }
	if code := b.main("run"); code != 0 {
		t.Errorf("exit status %d; %s", code, b.err.String())
	}
	if !strings.Contains(b.err.String(), "again to stop at once") || !strings.Contains(b.out.String(), "verdict: PASS") {
		t.Errorf("messages %q, output %q", b.err.String(), b.out.String())
	}
}

func TestInterruptedBeforeTheFirstRound(t *testing.T) {
	b := newBench(t)
	b.Run = func(ctx context.Context, _ chaos.Config, _ chaos.Deps) error {
		b.signals <- syscall.SIGINT
		<-ctx.Done()
		return ctx.Err()
	}
	if code := b.main("run"); code != cli.ExitNotRun || !strings.Contains(b.err.String(), "interrupted before the first round") {
		t.Errorf("exit status %d, messages %q", code, b.err.String())
	}
}

func TestReplayTakesTheRunsSettings(t *testing.T) {
	b := newBench(t)
	b.result.Verdict = checker.FailVerdict
	b.result.Rounds = []checker.RoundResult{{Number: 1, Findings: []checker.Finding{{Kind: checker.Lost, Round: 1}}}}
	if code := b.main("run", "--seed", "9007199254740993", "--report-dir", "first"); code != cli.ExitFindings {
		t.Fatalf("exit status %d; %s", code, b.err.String())
	}
	times := 0
	b.Check = func(context.Context, string) (checker.Result, error) {
		if times++; times == 2 {
			return checker.Result{Verdict: checker.Pass}, nil
		}
		return b.result, nil
	}
	b.Environ = []string{"SPOCKCHAOS_NODES=9"} // a replay has the run's nodes
	if code := b.main("replay", "first", "--times", "3", "--report-dir", "again"); code != cli.ExitFindings {
		t.Fatalf("exit status %d; %s", code, b.err.String())
	}
	if len(b.got) != 4 {
		t.Fatalf("%d runs, want 4", len(b.got))
	}
	for i, g := range b.got[1:] {
		if g.Seed != 9007199254740993 || g.Replay != "first" || g.Nodes != 3 || g.Duration != 2*time.Minute || !slices.Equal(g.Faults, []string{"partition", "kill"}) || g.Dir != filepath.Join("again", fmt.Sprintf("%03d", i+1)) {
			t.Errorf("replay %d got %+v", i+1, g)
		}
	}
	if !strings.Contains(b.out.String(), "came back   lost: 2 of 3") {
		t.Errorf("output %q", b.out.String())
	}
}

func TestListsAndHistory(t *testing.T) {
	b := newBench(t)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"faults"}, "partition  a pair\nkill       SIGKILL\npause      SIGSTOP\n"},
		{[]string{"workloads"}, "ledger  rows\nbank    transfers\n"},
		{[]string{"history", "somewhere"}, "somewhere\n"},
	} {
		b.out.b.Reset()
		if code := b.main(c.args...); code != 0 || b.out.String() != c.want {
			t.Errorf("%v: exit status %d, output %q", c.args, code, b.out.String())
		}
	}
}

func TestWatchdogGivesItsStatus(t *testing.T) {
	b := newBench(t)
	if code := b.main("watchdog"); code != 5 || b.err.String() != "" {
		t.Errorf("exit status %d, messages %q", code, b.err.String())
	}
}

func TestHelpAndCompletion(t *testing.T) {
	b := newBench(t)
	if code := b.main("run", "--help"); code != 0 {
		t.Fatalf("exit status %d", code)
	}
	for _, flag := range []string{"duration", "seed", "nodes", "engine", "topology", "pg-bin", "pg-ver", "workload", "sessions", "rate", "faults", "chaos", "rounds", "recovery-sql", "report-dir", "keep", "config", "log-format", "-q, --quiet", "-v, --verbose"} {
		if !strings.Contains(b.out.String(), flag) {
			t.Errorf("run --help lacks %s", flag)
		}
	}
	b.out.b.Reset()
	if code := b.main("completion", "bash"); code != 0 || !strings.Contains(b.out.String(), "complete") {
		t.Errorf("completion: exit status %d", code)
	}
	b.out.b.Reset()
	if code := b.main("__complete", "run", "--faults", "k"); code != 0 || !strings.Contains(b.out.String(), "kill\tSIGKILL") {
		t.Errorf("completion of faults: exit status %d, %q", code, b.out.String())
	}
	b.out.b.Reset()
	if code := b.main("--help"); code != 0 || strings.Contains(b.out.String(), "watchdog") {
		t.Errorf("help: exit status %d, %q", code, b.out.String())
	}
}

func TestLogFormats(t *testing.T) {
	for _, c := range []struct {
		args      []string
		json      bool
		has, lack string
	}{
		{nil, true, "hello", "details"}, // not a terminal: for machines
		{[]string{"--log-format", "console"}, false, "INFO  hello", "details"},
		{[]string{"--log-format", "json", "-v"}, true, "details", ""},
		{[]string{"-q"}, true, "careful", "hello"},
	} {
		b := newBench(t)
		run := b.Run
		b.Run = func(ctx context.Context, cfg chaos.Config, deps chaos.Deps) error {
			deps.Log.Debug("details")
			deps.Log.Info("hello", zap.Int("n", 1))
			deps.Log.Warn("careful")
			return run(ctx, cfg, deps)
		}
		if code := b.main(append([]string{"run"}, c.args...)...); code != 0 {
			t.Fatalf("exit status %d; %s", code, b.err.String())
		}
		text := b.err.String()
		line, _, _ := strings.Cut(text, "\n")
		if json.Valid([]byte(line)) != c.json || !strings.Contains(text, c.has) || c.lack != "" && strings.Contains(text, c.lack) {
			t.Errorf("%v: log %q", c.args, text)
		}
	}
}
