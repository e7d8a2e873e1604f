package main

import (
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/spockchaos/spockchaos/checker"
	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/topology/clusterfile"
)

// TestRun makes a whole short run, looks at what it leaves, damages copies of it, and runs it again.
func TestRun(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "run")
	p := start(t, runArgs(dir)...)
	p.untilChaos(dir)
	reachable(t, p, dir)
	status := p.wait(startLimit)
	p.gone(0)
	absent(t, filepath.Join(dir, rundir.ClusterFile))
	// On a machine that is busy with other things a short run may have too little evidence.
	if status != 0 && status != 3 {
		t.Fatalf("exit status %d, want 0, or 3 at worst", status)
	}
	rep := report(t, dir)
	t.Logf("verdict %s, %d ok operations", rep.Verdict, rep.Operations.OK)
	if want := map[checker.Verdict]int{checker.Pass: 0, checker.Inconclusive: 3}[rep.Verdict]; want != status {
		t.Errorf("exit status %d, but report.json says %s", status, rep.Verdict)
	}
	hasNames(t, dir)
	if page := hasFile(t, dir, rundir.ReportHTML); !strings.Contains(page, "</html>") {
		t.Error("report.html is not whole")
	}

	t.Run("history", func(t *testing.T) {
		r := run(t, "history", dir)
		if r.status != 0 {
			t.Fatalf("exit status %d: %s", r.status, r.stderr)
		}
		outcomes := map[string]int64{}
		for line := range strings.Lines(r.stdout) {
			var op struct{ Outcome string }
			if err := json.Unmarshal([]byte(line), &op); err != nil {
				t.Fatalf("%v: %s", err, line)
			}
			outcomes[op.Outcome]++
		}
		if got := outcomes["ok"]; got == 0 || got != rep.Operations.OK {
			t.Errorf("%d ok operations, %d in report.json", got, rep.Operations.OK)
		}
	})
	t.Run("check", func(t *testing.T) {
		if r := run(t, "check", dir); r.status != status || !strings.Contains(r.stdout, "verdict: "+strings.ToUpper(string(rep.Verdict))) {
			t.Errorf("exit status %d, the run's was %d: %s%s", r.status, status, r.stdout, r.stderr)
		}
	})
	t.Run("damaged", func(t *testing.T) { damaged(t, dir) })
	t.Run("replay", func(t *testing.T) { replay(t, dir) })
}

// replay runs the schedule of a run again and leaves the cluster up, until the command that is printed ends it.
func replay(t *testing.T, original string) {
	dir := filepath.Join(t.TempDir(), "again")
	p := start(t, "replay", original, "--keep", "--report-dir", dir)
	if status := p.wait(startLimit); status != 0 && status != 3 {
		t.Fatalf("exit status %d, want 0, or 3 at worst", status)
	}
	schedule := filepath.Join("rounds", "001", rundir.ScheduleFile)
	if hasFile(t, dir, schedule) != hasFile(t, original, schedule) {
		t.Error("the schedule is another one")
	}
	if rep := report(t, dir); rep.ReplayOf != original {
		t.Errorf("report.json says it is a replay of %q, want %s", rep.ReplayOf, original)
	}
	// The links are gone, so a node that was there last still answers, directly.
	f := reachable(t, p, dir)
	if !f.Detached || f.Stop == "" {
		t.Fatalf("cluster.json says detached %t, stop %q", f.Detached, f.Stop)
	}
	quoted, err := json.Marshal(f.Stop) // as the log says it
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(p.out.both(), string(quoted)) {
		t.Errorf("the command %s is not printed", f.Stop)
	}
	if out, err := exec.Command("sh", "-c", f.Stop).CombinedOutput(); err != nil {
		t.Errorf("%s: %v: %s", f.Stop, err, out)
	}
	p.gone(0)
}

// reachable asserts that cluster.json is its owner's alone, and that a node of it answers.
func reachable(t *testing.T, p *invocation, dir string) (f clusterfile.File) {
	t.Helper()
	f = p.cluster(dir)
	info, err := os.Stat(filepath.Join(dir, rundir.ClusterFile))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != 0o600 {
		t.Errorf("cluster.json has mode %v, want 0600", info.Mode())
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	p.t.Logf("%d nodes, %d links", len(f.Nodes), len(f.Links))
	for {
		// A fault may have just stopped one.
		for _, n := range f.Nodes {
			if answers(ctx, n.DSN) {
				return f
			}
		}
		if ctx.Err() != nil {
			t.Fatal("no node of cluster.json answers")
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func answers(ctx context.Context, dsn string) bool {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	c, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return false
	}
	var n int
	err = c.QueryRow(ctx, "SELECT count(*) FROM chaos.ledger").Scan(&n)
	return c.Close(ctx) == nil && err == nil
}

// names of report.json that other tools rely on.
var (
	reportNames = []string{"schema_version", "verdict", "reasons", "seed", "config", "versions", "started_at", "ended_at",
		"rounds", "operations", "rpo", "faults", "rescues", "slots", "findings", "engine_settings"}
	roundNames  = []string{"number", "kind", "verdict", "timings", "faults", "rescues", "findings"}
	faultNames  = []string{"name", "target", "parameters", "planned_at", "started_at", "ended_at", "effect", "proof"}
	rescueNames = []string{"failed", "source", "target", "transactions", "rows", "seconds", "resumed_times"}
	slotNames   = []string{"samples", "advances", "fell_back", "max_retained_bytes"}
	findNames   = []string{"kind", "round", "node", "key", "summary", "evidence", "faults_active"}
)

// hasNames asserts that report.json has every name that other tools rely on.
func hasNames(t *testing.T, dir string) {
	t.Helper()
	var rep struct {
		Rounds, Faults, Rescues, Findings []map[string]json.RawMessage
		Slots                             map[string]map[string]json.RawMessage
		Versions, Operations, RPO         map[string]json.RawMessage
	}
	var top map[string]json.RawMessage
	text := []byte(hasFile(t, dir, rundir.ReportJSON))
	for _, to := range []any{&top, &rep} {
		if err := json.Unmarshal(text, to); err != nil {
			t.Fatal(err)
		}
	}
	want := func(what string, names []string, objects ...map[string]json.RawMessage) {
		t.Helper()
		for _, o := range objects {
			for _, n := range names {
				if _, ok := o[n]; !ok {
					t.Errorf("report.json: %s has no %s", what, n)
				}
			}
		}
	}
	want("the report", reportNames, top)
	want("versions", []string{"postgres", "engine", "spockchaos"}, rep.Versions)
	want("operations", []string{"ok", "fail", "unknown", "by_workload"}, rep.Operations)
	want("rpo", []string{"writes", "oldest_seconds"}, rep.RPO)
	want("a round", roundNames, rep.Rounds...)
	want("a fault", faultNames, rep.Faults...)
	want("a rescue", rescueNames, rep.Rescues...)
	want("a finding", findNames, rep.Findings...)
	for node, s := range rep.Slots {
		want("the slot of "+node, slotNames, s)
	}
	if len(rep.Rounds) != 1 || len(rep.Faults) == 0 || len(rep.Slots) != 3 {
		t.Errorf("report.json: %d rounds, %d faults and the slots of %d nodes", len(rep.Rounds), len(rep.Faults), len(rep.Slots))
	}
}

// damaged damages copies of a run, one way each.
func damaged(t *testing.T, original string) {
	hist := biggestHistory(t, original)
	for _, test := range []struct {
		name    string
		file    string
		change  func([]byte) []byte
		refuses []string // commands
	}{
		{"history torn", hist, func(b []byte) []byte { return b[:len(b)/2+3] }, []string{"check"}},
		{"history garbled", hist, garble, []string{"check", "history"}},
		{"history of something else", hist, func([]byte) []byte { return []byte("hello\n") }, []string{"check", "history"}},
		{"run.json torn", rundir.RunFile, func(b []byte) []byte { return b[:len(b)/2] }, []string{"check", "replay"}},
		{"run.json garbled", rundir.RunFile, garble, []string{"check", "replay"}},
		{"schedule garbled", filepath.Join("rounds", "001", rundir.ScheduleFile), garble, []string{"replay"}},
		{"samples garbled", filepath.Join("rounds", "001", rundir.SamplesFile), garble, []string{"check"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "copy")
			if err := os.CopyFS(dir, os.DirFS(original)); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, test.file)
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, test.change(b), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, command := range test.refuses {
				r := run(t, command, dir)
				refused(t, r.status, r.stderr, path)
			}
		})
	}
}

// garble flips the bits of a few bytes in the middle.
func garble(b []byte) []byte {
	b = slices.Clone(b)
	for i := len(b) / 2; i < len(b)/2+4; i++ {
		b[i] ^= 0xff
	}
	return b
}

// biggestHistory is the path below dir of the session's history that holds most.
func biggestHistory(t *testing.T, dir string) (name string) {
	t.Helper()
	var size int64
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".hist") {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Size() > size {
			name, size = path, info.Size()
		}
		return err
	})
	if err != nil || name == "" {
		t.Fatalf("no history below %s: %v", dir, err)
	}
	return name
}
