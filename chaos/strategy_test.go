package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestParseStrategy(t *testing.T) {
	for name, want := range map[string]string{
		"": "chaos.sqlStrategy", "sql": "chaos.sqlStrategy", "native": "chaos.nativeStrategy", "exec:./runbook --now": "chaos.execStrategy",
		"exec:": "", "exec:  ": "", "SQL": "", "native ": "", "run": "",
	} {
		s, err := ParseStrategy(name)
		if got := fmt.Sprintf("%T", s); (want == "") != (err != nil) || want != "" && got != want {
			t.Errorf("%q is %s, %v; want %s", name, got, err, want)
		}
	}
}

// runbook runs a command with a task and returns what it said.
func runbook(ctx context.Context, t *testing.T, command string) ([]string, error) {
	t.Helper()
	env, input, err := Task{Failed: "n1", Source: "n2", Target: "n3", Coordinator: "n2", SourceDSN: "host=s", TargetDSN: "host=t",
		CoordinatorDSN: "host=c", TargetToSourceDSN: "host=ts", CoordinatorToTargetDSN: "host=ct"}.environment()
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	err = execStrategy{command}.run(ctx, env, input, func(line string) { said = append(said, line) })
	return said, err
}

func TestRunbook(t *testing.T) {
	const stdin = `{"failed":"n1","source":"n2","target":"n3","coordinator":"n2","source_dsn":"host=s","target_dsn":"host=t",` +
		`"coordinator_dsn":"host=c","target_to_source_dsn":"host=ts","coordinator_to_target_dsn":"host=ct"}`
	for command, want := range map[string]struct {
		said   []string
		status int
		err    string
	}{
		"true":                {},
		"cat":                 {said: []string{stdin}},
		"echo a; echo b 1>&2": {said: []string{"a", "b"}},
		"printf half":         {said: []string{"half"}},
		`echo "$SPOCKCHAOS_FAILED $SPOCKCHAOS_SOURCE $SPOCKCHAOS_TARGET $SPOCKCHAOS_COORDINATOR $SPOCKCHAOS_SOURCE_DSN $SPOCKCHAOS_TARGET_DSN"`: {said: []string{"n1 n2 n3 n2 host=s host=t"}},
		`echo "$SPOCKCHAOS_COORDINATOR_DSN $SPOCKCHAOS_TARGET_TO_SOURCE_DSN $SPOCKCHAOS_COORDINATOR_TO_TARGET_DSN"`:                             {said: []string{"host=c host=ts host=ct"}},
		"echo no way; exit 3": {said: []string{"no way"}, status: 3, err: "exit status 3: no way"},
		"kill -9 $$":          {status: -1, err: "exit status -1"},
		"no-such-command-9":   {status: 127, err: "exit status 127"},
	} {
		said, err := runbook(t.Context(), t, command)
		var exit *ExitError
		switch {
		case want.err == "" && err != nil, want.err != "" && (err == nil || !strings.Contains(err.Error(), want.err)):
			t.Errorf("%s: %v, want %q", command, err, want.err)
		case want.err != "" && (!errors.As(err, &exit) || exit.Status != want.status):
			t.Errorf("%s: status of %v, want %d", command, err, want.status)
		case want.status != 127 && !slices.Equal(said, want.said):
			t.Errorf("%s said %q, want %q", command, said, want.said)
		}
	}
}

// TestRunbookEnds ends a runbook that has started another process, and one that leaves such a process behind.
func TestRunbookEnds(t *testing.T) {
	alive := func(file string) bool {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
		if err != nil {
			t.Fatal(err)
		}
		for range 200 { // the dead child is init's to collect
			stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			if err != nil || strings.Contains(string(stat), ") Z ") || syscall.Kill(pid, 0) != nil {
				return false
			}
			time.Sleep(10 * time.Millisecond)
		}
		return true
	}
	for name, command := range map[string]string{
		"ended":        "trap '' TERM; sleep 300 & echo $! > %s; echo started; wait; wait",
		"left behind":  "sleep 300 >/dev/null 2>&1 & echo $! > %s; echo started",
		"asked to end": "sleep 300 & echo $! > %s; trap 'exit 0' TERM; echo started; wait",
	} {
		file := filepath.Join(t.TempDir(), "pid")
		ctx, cancel := context.WithCancel(t.Context())
		var said []string
		err := execStrategy{fmt.Sprintf(command, file)}.run(ctx, nil, nil, func(line string) {
			said = append(said, line)
			if line == "started" && name != "left behind" {
				cancel()
			}
		})
		cancel()
		if (err == nil) != (name == "left behind") || err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
		if alive(file) {
			t.Errorf("%s: its child still runs; it said %q", name, said)
		}
	}
}
