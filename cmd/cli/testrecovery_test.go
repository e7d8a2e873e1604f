package cli_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"syscall"
	"testing"

	"github.com/spockchaos/spockchaos/chaos"
	"github.com/spockchaos/spockchaos/chaos/scenario"
	"github.com/spockchaos/spockchaos/cmd/cli"
)

// recoveryBench is a bench whose scenario ends as the test wants. asked is what it was asked for.
func recoveryBench(t *testing.T, res scenario.Result, err error) (b *bench, asked *[]scenario.Config) {
	b, asked = newBench(t), new([]scenario.Config)
	b.TestRecovery = func(_ context.Context, cfg scenario.Config, _ chaos.Deps, report func(scenario.Step)) (scenario.Result, error) {
		*asked = append(*asked, cfg)
		for _, s := range res.Steps {
			report(s)
		}
		return res, err
	}
	return b, asked
}

var recoverySteps = []scenario.Step{
	{Number: 1, Title: "Create", Status: scenario.Passed, Seconds: 6.25, Details: []string{"more of it"},
		Evidence: []scenario.Fact{{Name: "nodes", Value: 3, Text: "3 nodes are up"}}, Notes: []string{"was restarted"}},
	{Number: 2, Title: "Rescue", Status: scenario.Failed, Problems: []string{"lost 12"}},
	{Number: 3, Title: "Verify", Status: scenario.NotRun},
}

func TestRecoveryPrintsSteps(t *testing.T) {
	b, _ := recoveryBench(t, scenario.Result{Seconds: 12.34, Steps: recoverySteps}, nil)
	if code := b.main("test-recovery"); code != cli.ExitFindings {
		t.Errorf("exit status %d; %s", code, b.err.String())
	}
	want := `✓ 1  Create                                               6.2 s
     3 nodes are up
     ! was restarted
✗ 2  Rescue                                               0.0 s
     ✗ lost 12
– 3  Verify                                             not run
failed in step 2 after 12.3 s
`
	if got := b.out.String(); got != want {
		t.Errorf("output\n%s\nwant\n%s", got, want)
	}
	b, _ = recoveryBench(t, scenario.Result{Passed: true, Seconds: 12.34, Steps: recoverySteps[:1]}, nil)
	if code := b.main("test-recovery", "-v"); code != cli.ExitPass {
		t.Errorf("exit status %d; %s", code, b.err.String())
	}
	if got := b.out.String(); !strings.Contains(got, "     · more of it\n") || !strings.HasSuffix(got, "\npassed in 12.3 s\n") {
		t.Errorf("output\n%s", got)
	}
}

func TestRecoveryAsJSON(t *testing.T) {
	for _, passed := range []bool{true, false} {
		b, _ := recoveryBench(t, scenario.Result{Passed: passed, Steps: recoverySteps}, nil)
		if code := b.main("test-recovery", "--output", "json"); (code == cli.ExitPass) != passed || (code == cli.ExitFindings) == passed {
			t.Errorf("passed %t: exit status %d", passed, code)
		}
		var got scenario.Result
		if err := json.Unmarshal([]byte(b.out.String()), &got); err != nil || got.Passed != passed || len(got.Steps) != 3 || got.Steps[0].Evidence[0].Name != "nodes" {
			t.Errorf("%v: %s", err, b.out.String())
		}
	}
}

func TestRecoveryIsGivenTheSettings(t *testing.T) {
	b, asked := recoveryBench(t, scenario.Result{Passed: true}, nil)
	b.Environ = []string{"SPOCKCHAOS_NODES=5", "SPOCKCHAOS_PG_VER=17", "SPOCKCHAOS_DURATION=1m", "SPOCKCHAOS_NONSENSE=1"}
	file := write(t, "my.sql", "SELECT 1")
	if code := b.main("test-recovery", "--nodes", "4", "--recovery-sql", file); code != 0 || b.err.String() != "" {
		t.Fatalf("exit status %d; %s", code, b.err.String())
	}
	want := scenario.Config{Nodes: 4, Engine: "auto", Topology: "local", PGVer: "17", RecoverySQL: file}
	if len(*asked) != 1 || (*asked)[0] != want {
		t.Errorf("asked for %+v, want %+v", *asked, want)
	}
	b.Topologies = append(b.Topologies, cli.Item{Name: "docker"})
	if code := b.main("test-recovery", "--docker"); code != 0 || (*asked)[1].Topology != "docker" || (*asked)[1].Nodes != 5 {
		t.Errorf("exit status %d; asked for %+v", code, (*asked)[1])
	}
}

func TestRecoveryRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"two nodes":         {[]string{"--nodes", "2"}, "--nodes 2 must be from 3 to 9"},
		"ten nodes":         {[]string{"--nodes", "10"}, "--nodes"},
		"unknown output":    {[]string{"--output", "xml"}, `--output "xml"`},
		"missing file":      {[]string{"--recovery-sql", "/no/such.sql"}, "/no/such.sql"},
		"an argument":       {[]string{"now"}, "no arguments"},
		"a setting of runs": {[]string{"--duration", "1m"}, "--duration"},
	} {
		t.Run(name, func(t *testing.T) {
			b, asked := recoveryBench(t, scenario.Result{Passed: true}, nil)
			if code := b.main(append([]string{"test-recovery"}, c.args...)...); code != cli.ExitNotRun || len(*asked) > 0 {
				t.Errorf("exit status %d, asked for %+v", code, *asked)
			}
			if m := b.err.String(); !strings.Contains(m, c.want) || strings.Count(m, "\n") != 1 {
				t.Errorf("message %q, want one line with %q", m, c.want)
			}
		})
	}
}

func TestRecoveryThatCannotRun(t *testing.T) {
	b, _ := recoveryBench(t, scenario.Result{}, &chaos.UsageError{Err: errors.New("no pglogical anywhere")})
	if code := b.main("test-recovery"); code != cli.ExitNotRun || b.err.String() != "spockchaos: no pglogical anywhere\n" || b.out.String() != "" {
		t.Errorf("exit status %d, messages %q, output %q", code, b.err.String(), b.out.String())
	}
	b, _ = recoveryBench(t, scenario.Result{}, nil)
	b.TestRecovery = func(ctx context.Context, _ scenario.Config, _ chaos.Deps, _ func(scenario.Step)) (scenario.Result, error) {
		b.signals <- syscall.SIGINT
		<-ctx.Done()
		return scenario.Result{}, errors.New("interrupted in step 4")
	}
	if code := b.main("test-recovery"); code != cli.ExitNotRun || !strings.Contains(b.err.String(), "stopping the cluster; again to stop at once") {
		t.Errorf("exit status %d, messages %q", code, b.err.String())
	}
}
