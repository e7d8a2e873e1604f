package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spockchaos/spockchaos/checker"
	"github.com/spockchaos/spockchaos/checker/rundir"
)

// TestNotARun gives the commands that read a run something else.
func TestNotARun(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	writeFile(t, file, "hello\n")
	empty := filepath.Join(dir, "empty")
	if err := os.Mkdir(empty, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"check", "replay", "history"} {
		for _, path := range []string{file, empty, filepath.Join(dir, "nowhere"), filepath.Join(file, "below")} {
			t.Run(command+" "+filepath.Base(path), func(t *testing.T) {
				r := run(t, command, path)
				refused(t, r.status, r.stderr, path)
			})
		}
	}
}

// TestCannotRun gives a run what it cannot work with: it says so before there is anything to leave behind.
func TestCannotRun(t *testing.T) {
	t.Parallel()
	tmp := t.TempDir()
	file := filepath.Join(tmp, "file")
	writeFile(t, file, "hello\n")
	taken := filepath.Join(tmp, "taken")
	if err := os.Mkdir(taken, 0o755); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(taken, "mine"), "hello\n")
	for name, test := range map[string]struct {
		flag, value string
		dir         string // where no run may be; "" is one of its own
	}{
		"no such programs":             {flag: "--pg-bin", value: filepath.Join(tmp, "nowhere")},
		"no programs there":            {flag: "--pg-bin", value: taken},
		"the programs are a file":      {flag: "--pg-bin", value: file},
		"report into a file":           {flag: "--report-dir", value: file},
		"report below a file":          {flag: "--report-dir", value: filepath.Join(file, "run")},
		"report into what is not ours": {flag: "--report-dir", value: taken},
		"report where none can be":     {flag: "--report-dir", value: "/proc/nowhere/run"},
		"no such procedures":           {flag: "--recovery-sql", value: filepath.Join(tmp, "no.sql")},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "run")
			// A later flag wins.
			p := start(t, append(runArgs(dir), test.flag, test.value)...)
			status := p.wait(startLimit)
			refused(t, status, p.out.stderr.String(), test.value)
			if out := p.out.stdout.String(); out != "" {
				t.Errorf("standard output %q", out)
			}
			p.gone(0)
			absent(t, dir)
			if b, err := os.ReadFile(file); err != nil || string(b) != "hello\n" {
				t.Errorf("the file was changed: %q, %v", b, err)
			}
			if entries, err := os.ReadDir(taken); err != nil || len(entries) != 1 {
				t.Errorf("something came into %s: %v, %v", taken, entries, err)
			}
		})
	}
}

// TestNoCompiler names a fault for which a library has to be compiled, where nothing compiles; without its name nobody misses it.
func TestNoCompiler(t *testing.T) {
	t.Setenv("CC", "/nowhere/cc")
	dir := filepath.Join(t.TempDir(), "run")
	p := start(t, runArgs(dir, "--faults", "stall,clock_skew")...)
	refused(t, p.wait(startLimit), p.out.stderr.String(), "clock_skew", "apt-get install gcc libc6-dev")
	p.gone(0)
	absent(t, dir)
}

// TestBrokenProcedures loads a file that is no SQL.
func TestBrokenProcedures(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "broken.sql")
	writeFile(t, file, "SELECT 1;\nCREATE FUNCTION spock.nothing( RETURNS;\n")
	dir := filepath.Join(t.TempDir(), "run")
	p := start(t, runArgs(dir, "--recovery-sql", file)...)
	status := p.wait(startLimit)
	refused(t, status, p.out.stderr.String(), file+", line 2", "syntax error")
	p.gone(0)
	absent(t, dir)
}

// TestPlantedDefect loads a rescue that leaves its clone slot behind: everybody is told.
func TestPlantedDefect(t *testing.T) {
	t.Parallel()
	file, err := filepath.Abs("../../checker/testdata/defects/leaves_clone.sql")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "run")
	p := start(t, runArgs(dir, "--recovery-sql", file)...)
	if status := p.wait(startLimit); status != 1 {
		t.Fatalf("exit status %d, want 1", status)
	}
	p.gone(0)
	const kind = checker.RescueLeftovers
	rep := report(t, dir)
	if rep.Verdict != checker.FailVerdict {
		t.Errorf("report.json says %s", rep.Verdict)
	}
	found := false
	for _, f := range rep.Findings {
		if f.Kind == kind && strings.Contains(f.Summary+fmt.Sprint(f.Evidence), "spk_rescue_clone") {
			found = true
		}
	}
	if !found {
		t.Errorf("report.json has %+v, want a finding %s that names the slot", rep.Findings, kind)
	}
	for what, text := range map[string]string{"the terminal": p.out.stdout.String(), "report.html": hasFile(t, dir, rundir.ReportHTML)} {
		if !strings.Contains(text, string(kind)) || !strings.Contains(text, "spk_rescue_clone") {
			t.Errorf("%s does not show the finding", what)
		}
	}
}

// TestFullDisk runs into a directory that fills up: the run ends at once and says why.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	// A mount of its own, seen by the program alone and gone with it.
	const mount = `mount -t tmpfs -o size="$0" tmpfs "$1" && shift && exec "$@"`
	full := t.TempDir()
	private := func(args ...string) []string {
		return append([]string{"-m", "sh", "-c", mount, "200k", full}, args...)
	}
	if out, err := exec.Command("unshare", private("true")...).CombinedOutput(); err != nil {
		t.Skipf("a file system of its own cannot be mounted here: %v: %s", err, out)
	}
	dir := filepath.Join(full, "run")
	p := startProgram(t, "unshare", private(append([]string{program}, runArgs(dir, "--rate", "400")...)...)...)
	p.until("the first round", func() bool { return strings.Contains(p.out.both(), "cluster is wired") })
	at := time.Now()
	status := p.wait(startLimit)
	t.Logf("ended %s after the first round began", time.Since(at).Round(time.Millisecond))
	refused(t, status, p.out.stderr.String(), dir, "no space left on device")
	p.gone(0)
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
