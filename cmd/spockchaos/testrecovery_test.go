package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spockchaos/spockchaos/chaos/scenario"
)

// testRecoveryArgs is the scenario on the servers that tests use.
func testRecoveryArgs(more ...string) []string {
	args := []string{"test-recovery"}
	if bin := os.Getenv("SPOCKCHAOS_TEST_PG_BIN"); bin != "" {
		args = append(args, "--pg-bin", bin)
	}
	return append(args, more...)
}

// TestRecovery runs the scenario to its end.
func TestRecovery(t *testing.T) {
	t.Parallel()
	p := start(t, testRecoveryArgs("--output", "json")...)
	if status := p.wait(startLimit); status != 0 {
		t.Fatalf("exit status %d, want 0", status)
	}
	p.gone(0)
	var res scenario.Result
	if err := json.Unmarshal(p.out.stdout.Bytes(), &res); err != nil {
		t.Fatal(err)
	}
	if !res.Passed || len(res.Steps) != 9 || p.out.stderr.String() != "" {
		t.Errorf("passed %t with %d steps, messages %q", res.Passed, len(res.Steps), p.out.stderr.String())
	}
	t.Logf("it took %.1f s", res.Seconds)
}

// TestRecoveryWithDefect gives the scenario a rescue that leaves its clone behind.
func TestRecoveryWithDefect(t *testing.T) {
	t.Parallel()
	file, err := filepath.Abs("../../checker/testdata/defects/leaves_clone.sql")
	if err != nil {
		t.Fatal(err)
	}
	p := start(t, testRecoveryArgs("--recovery-sql", file)...)
	if status := p.wait(startLimit); status != 1 {
		t.Fatalf("exit status %d, want 1", status)
	}
	p.gone(0)
	out := p.out.stdout.String()
	for _, want := range []string{"✓ 8", "✗ 9", "clone slot spk_rescue_clone", "\nfailed in step 9 after"} {
		if !strings.Contains(out, want) {
			t.Errorf("the output lacks %q", want)
		}
	}
}

// TestRecoveryInterrupt sends a signal between two steps: there is no verdict, and nothing is left.
func TestRecoveryInterrupt(t *testing.T) {
	t.Parallel()
	p := start(t, testRecoveryArgs()...)
	p.until("the second step", func() bool { return strings.Contains(p.out.both(), "✓ 2") })
	p.signal(os.Interrupt)
	status := p.wait(20 * time.Second)
	p.gone(0)
	if status != 2 || !strings.Contains(p.out.stderr.String(), "interrupted in step ") || strings.Contains(p.out.stdout.String(), "passed in") {
		t.Errorf("exit status %d, want 2", status)
	}
}

// TestRecoveryBrokenProcedures loads a file that is no SQL.
func TestRecoveryBrokenProcedures(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "broken.sql")
	writeFile(t, file, "SELECT 1;\nCREATE FUNCTION spock.nothing( RETURNS;\n")
	p := start(t, testRecoveryArgs("--recovery-sql", file)...)
	status := p.wait(startLimit)
	refused(t, status, p.out.stderr.String(), file+", line 2", "syntax error")
	p.gone(0)
}
