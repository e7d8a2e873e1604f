package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spockchaos/spockchaos/checker"
	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/reports"
)

// TestInterrupt sends SIGINT in the chaos of a round: what there is is healed, saved and judged.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "run")
	p := start(t, runArgs(dir)...)
	p.untilChaos(dir)
	p.cluster(dir)
	at := time.Now()
	p.signal(os.Interrupt)
	if status := p.wait(20 * time.Second); status != 3 {
		t.Errorf("exit status %d, want 3", status)
	}
	t.Logf("ended %s after the signal", time.Since(at).Round(time.Millisecond))
	p.gone(0)
	if !strings.Contains(p.out.both(), "again to stop at once") {
		t.Error("it does not say what a second signal does")
	}
	rep := report(t, dir)
	if !rep.Interrupted || rep.Verdict != checker.Inconclusive || !rep.Checked {
		t.Errorf("interrupted %t, verdict %s, checked %t", rep.Interrupted, rep.Verdict, rep.Checked)
	}
	if rep.Operations.OK == 0 || len(rep.Faults) == 0 {
		t.Errorf("%d ok operations and %d faults: what there was is not in the report", rep.Operations.OK, len(rep.Faults))
	}
	for _, f := range rep.Faults {
		if f.StartedAt != nil && f.EndedAt == nil {
			t.Errorf("fault %d, %s, was not healed", f.ID, f.Name)
		}
	}
	hasFile(t, dir, rundir.ReportHTML)
	absent(t, filepath.Join(dir, rundir.ClusterFile))
	if r := run(t, "check", dir); r.status != 3 {
		t.Errorf("check: exit status %d, want 3; %s", r.status, r.stderr)
	}
}

// TestInterruptSetUp sends a signal before there is a round: nothing is left.
func TestInterruptSetUp(t *testing.T) {
	for name, test := range map[string]struct {
		signal os.Signal
		when   string // a file in the directory for data
	}{
		"while initdb works":    {os.Interrupt, "n1/data/PG_VERSION"},
		"while the nodes start": {syscall.SIGTERM, "n3/data/postmaster.pid"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "run")
			p := start(t, runArgs(dir)...)
			p.until("there is "+test.when, func() bool {
				found, _ := filepath.Glob(filepath.Join(p.tmp, "spockchaos-*", test.when))
				return len(found) > 0
			})
			p.signal(test.signal)
			if status := p.wait(20 * time.Second); status != 2 {
				t.Errorf("exit status %d, want 2", status)
			}
			if !strings.Contains(p.out.stderr.String(), "spockchaos: interrupted before the first round") {
				t.Error("it does not say that nothing was run")
			}
			p.gone(0)
			absent(t, dir)
		})
	}
}

// TestInterruptSetUpTwice sends a second SIGINT while a run is being set up: the program ends at once, and nothing is left.
func TestInterruptSetUpTwice(t *testing.T) {
	t.Parallel()
	above := t.TempDir()
	dir := filepath.Join(above, "runs", "first")
	p := start(t, runArgs(dir)...)
	p.until("there is something in the run directory", func() bool {
		_, err := os.Stat(filepath.Join(dir, rundir.ClusterFile))
		return err == nil
	})
	p.interruptTwice()
	p.gone(20 * time.Second)
	absent(t, filepath.Join(above, "runs"))
}

// TestInterruptTwice sends a second SIGINT after the first: the program ends at once, and its servers do.
func TestInterruptTwice(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "run")
	p := start(t, runArgs(dir)...)
	p.untilChaos(dir)
	p.interruptTwice()
	p.gone(10 * time.Second)
	absent(t, filepath.Join(dir, rundir.ClusterFile))
}

// interruptTwice sends SIGINT until the program ends at once.
func (p *invocation) interruptTwice() {
	p.t.Helper()
	p.signal(os.Interrupt)
	p.until("the first signal is answered", func() bool { return strings.Contains(p.out.both(), "again to stop at once") })
	p.signal(os.Interrupt)
	if status := p.wait(2 * time.Second); status != 130 {
		p.t.Errorf("exit status %d, want 130", status)
	}
}

// TestKilled kills the program itself: its servers end all the same, and what it had written is judged.
func TestKilled(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "run")
	p := start(t, runArgs(dir)...)
	p.untilChaos(dir)
	at := time.Now()
	p.signal(syscall.SIGKILL)
	p.wait(2 * time.Second)
	p.gone(10 * time.Second)
	t.Logf("all gone %s after the kill", time.Since(at).Round(time.Millisecond))
	absent(t, filepath.Join(dir, rundir.ClusterFile))
	r := run(t, "check", dir)
	if r.status != 3 || !strings.Contains(r.stdout, "verdict: INCONCLUSIVE") {
		t.Errorf("check: exit status %d, want 3; %s%s", r.status, r.stdout, r.stderr)
	}
	if rep := report(t, dir); rep.Operations.OK == 0 {
		t.Error("no operation was kept")
	}
	if r := run(t, "history", dir); r.status != 0 || r.stdout == "" {
		t.Errorf("history: exit status %d, %d bytes; %s", r.status, len(r.stdout), r.stderr)
	}
}

// report reads report.json of a run.
func report(t *testing.T, dir string) reports.Report {
	t.Helper()
	var rep reports.Report
	if err := rundir.ReadJSON(filepath.Join(dir, rundir.ReportJSON), &rep); err != nil {
		t.Fatal(err)
	}
	return rep
}

// hasFile asserts that a file of a run is there and returns what it holds.
func hasFile(t *testing.T, dir, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	if len(b) == 0 {
		t.Errorf("%s is empty", name)
	}
	return string(b)
}
