package cli_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spockchaos/spockchaos/chaos"
	"github.com/spockchaos/spockchaos/chaos/rescue"
	"github.com/spockchaos/spockchaos/cmd/cli"
	"github.com/spockchaos/spockchaos/topology/attach"
	"github.com/spockchaos/spockchaos/topology/engine"
	"github.com/spockchaos/spockchaos/topology/engine/pglogical"
)

// recoverBench is a bench whose rescue comes out as the test wants.
type recoverBench struct {
	*bench
	plan       rescue.Plan
	result     rescue.Result
	fails      error // of Run
	waits      bool  // Run waits for a signal, which it gets
	opened     []rescue.Options
	ran, ended int
}

func newRecoverBench(t *testing.T) *recoverBench {
	b := &recoverBench{bench: newBench(t)}
	n2 := rescue.Survivor{Standing: rescue.Standing{Node: "n2", Progress: 9, Position: 7, SlotStatus: "reserved"}, Subscribes: true, RetainedBytes: 100, HeldBy: "n3 for n1: behind"}
	n3 := rescue.Survivor{Standing: rescue.Standing{Node: "n3", Progress: 5}, Subscribes: true}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	b.plan = rescue.Plan{Failed: "n1", Engine: "pglogical", Survivors: []rescue.Survivor{n2, n3}, Source: "n2",
		Targets: []rescue.Target{{Node: "n3", Source: "n2", Coordinator: "n3", Missing: &rescue.Missing{Transactions: 40, Changes: 61, FirstAt: at, LastAt: at.Add(time.Minute)},
			Checks: []rescue.Check{{Name: "free slot", Status: "ok", Detail: "3"}, {Name: "commit timestamps", Status: "warning", Detail: "off"}}}},
		Stays: []string{}, Remove: []string{"n2", "n3"}, Alive: []string{}, Problems: []string{}, Notes: []string{"look out"}}
	b.result = rescue.Result{OK: true, Calls: []rescue.Outcome{{Node: "n3", Source: "n2", Level: true, Transactions: 40, Rows: 61, Seconds: 1.25}},
		Removed: []string{"n2", "n3"}, Wrong: []string{}, Notes: []string{"a slot is left"}, Seconds: 2}
	b.Interactive = func(io.Reader) bool { return false }
	b.OpenRescue = func(_ context.Context, o rescue.Options) (cli.Rescuer, error) {
		b.opened = append(b.opened, o)
		return b, nil
	}
	return b
}

func (b *recoverBench) Plan(context.Context) (rescue.Plan, error) { return b.plan, nil }
func (b *recoverBench) Close()                                    { b.ended++ }
func (b *recoverBench) Run(ctx context.Context, _ rescue.Plan, report rescue.Report) (rescue.Result, error) {
	b.ran++
	report.Step("n2, n3 stopped listening to n1")
	report.Notice("NOTICE", "replaying")
	report.Notice("WARNING", "mind the gap")
	if b.waits {
		b.signals <- syscall.SIGINT
		<-ctx.Done()
		return b.result, ctx.Err()
	}
	for _, o := range b.result.Calls {
		report.Call(o)
	}
	return b.result, b.fails
}

var recoverArgs = []string{"recover", "--failed", "n1", "--node", "n1=host=a", "--node", "n2=host=b", "--node", "n3=host=c"}

func (b *recoverBench) recover(more ...string) int {
	return b.main(append(slices.Clone(recoverArgs), more...)...)
}

const planText = `what the survivors have of n1 (pglogical):
  n2  up to 0/9; recovery slot at 0/7 of its own WAL, reserved, 100 bytes kept; held by n3 for n1: behind  (source)
  n3  up to 0/5; no recovery slot
what is to be done:
  1. rescue n3 from n2, by a CALL on n3: 40 transactions with 61 row changes, committed from 2026-01-02 03:04:05 to 2026-01-02 03:05:05 UTC
     ! commit timestamps: off
  2. remove n1 from n2, n3
  ! look out
`

func TestRecoverPlan(t *testing.T) {
	b := newRecoverBench(t)
	if code := b.recover("--plan"); code != 0 || b.out.String() != planText+"nothing was changed\n" || b.err.String() != "" {
		t.Errorf("exit status %d; %s\n%s", code, b.err.String(), b.out.String())
	}
	if b.ran != 0 || b.ended != 1 {
		t.Errorf("run %d times, closed %d times", b.ran, b.ended)
	}
	o := b.opened[0]
	if o.Failed != "n1" || !slices.Equal(o.FailedDSN, []string{"host=a"}) || !slices.Equal(o.Survivors, []attach.Node{{Name: "n2", DSN: "host=b"}, {Name: "n3", DSN: "host=c"}}) {
		t.Errorf("options %+v", o)
	}
	b = newRecoverBench(t)
	if code := b.recover("--plan", "-v", "--source", "n2", "--target", "n3", "--coordinator", "n2", "--server-dsn", "n2=host=x", "--failed-is-fenced"); code != 0 || !strings.Contains(b.out.String(), "· free slot: 3\n") {
		t.Errorf("exit status %d; %s\n%s", code, b.err.String(), b.out.String())
	}
	if o := b.opened[0]; o.Source != "n2" || !slices.Equal(o.Targets, []string{"n3"}) || o.Coordinator != "n2" || o.ServerDSN["n2"] != "host=x" || !o.Fenced || o.Install {
		t.Errorf("options %+v", o)
	}
}

func TestRecoverEnds(t *testing.T) {
	alive := func(b *recoverBench) { b.plan.Alive = []string{"it answers, seen from n2"} }
	problem := func(b *recoverBench) { b.plan.Problems = []string{"no slot"} }
	nothing := func(b *recoverBench) { b.plan.Targets, b.plan.Remove = nil, nil }
	bad := func(b *recoverBench) {
		b.result.OK, b.result.Wrong = false, []string{"n3 is not level"}
	}
	ask := func(answer string) func(*recoverBench) {
		return func(b *recoverBench) {
			b.Interactive = func(io.Reader) bool { return true }
			b.Stdin = strings.NewReader(answer)
		}
	}
	for name, c := range map[string]struct {
		args     []string
		change   func(*recoverBench)
		code     int
		out, err string // parts of the end
		ran      int
	}{
		"done":                     {[]string{"--yes"}, nil, 0, "! a slot is left\nrescued in 2.0 s; n1 is gone from n2, n3\n", "", 1},
		"done after a yes":         {nil, ask("yes\n"), 0, "rescued in 2.0 s", `type "yes" to do this: `, 1},
		"declined":                 {nil, ask("y\n"), 2, "  ! look out\n", "nothing was changed", 0},
		"no answer":                {nil, ask(""), 2, "  ! look out\n", "nothing was changed", 0},
		"nobody to ask":            {nil, nil, 2, "  ! look out\n", "nothing was changed: --yes does it, --plan only says what", 0},
		"not level":                {[]string{"--yes"}, bad, 1, "✗ n3 is not level\nnot rescued: calling it again goes on where it was\n", "", 1},
		"failed half-way":          {[]string{"--yes"}, func(b *recoverBench) { b.fails = errors.New("n2: gone") }, 1, "", "n2: gone; calling it again goes on where it was", 1},
		"not begun":                {[]string{"--yes"}, func(b *recoverBench) { b.fails = rescue.MayLive("n1", []string{"it answers"}) }, 2, "", "n1 may still live: it answers.", 1},
		"interrupted":              {[]string{"--yes"}, func(b *recoverBench) { b.waits = true }, cli.ExitInterrupted, "", "interrupted; calling it again goes on where it was\n", 1},
		"nothing to do":            {[]string{"--yes"}, nothing, 0, "nothing to do: n1 is gone from all survivors\n", "", 0},
		"nothing to do, as a plan": {[]string{"--plan"}, nothing, 0, "nothing to do: n1 is gone from all survivors\n", "", 0},
		"alive":                    {[]string{"--yes"}, alive, 2, "✗ n1 may still live: it answers, seen from n2\n", "--failed-is-fenced", 0},
		"alive, as a plan":         {[]string{"--plan"}, alive, 1, "this cannot be done as it is; nothing was changed\n", "", 0},
		"a problem":                {[]string{"--yes"}, problem, 1, "✗ no slot\nthis cannot be done as it is; nothing was changed\n", "", 0},
		"not opened": {[]string{"--yes"}, func(b *recoverBench) {
			b.OpenRescue = func(context.Context, rescue.Options) (cli.Rescuer, error) {
				return nil, &rescue.UsageError{Err: errors.New("n3 does not answer: refused")}
			}
		}, 2, "", "spockchaos: n3 does not answer: refused\n", 0},
		"too slow to be opened": {[]string{"--yes", "--timeout", "10ms"}, func(b *recoverBench) {
			b.OpenRescue = func(ctx context.Context, _ rescue.Options) (cli.Rescuer, error) { <-ctx.Done(); return nil, ctx.Err() }
		}, 2, "", "not done within 10ms; nothing was changed\n", 0},
	} {
		t.Run(name, func(t *testing.T) {
			b := newRecoverBench(t)
			if c.change != nil {
				c.change(b)
			}
			if code := b.recover(c.args...); code != c.code || b.ran != c.ran {
				t.Errorf("exit status %d, run %d times; %s", code, b.ran, b.err.String())
			}
			if !strings.HasSuffix(b.out.String(), c.out) && !strings.Contains(b.out.String(), c.out) || c.out == "" && c.ran == 0 && b.out.String() != "" {
				t.Errorf("output %q, want %q", b.out.String(), c.out)
			}
			if m := b.err.String(); !strings.Contains(m, c.err) || c.err == "" && m != "" || strings.Count(m, "\n") > 3 {
				t.Errorf("messages %q, want %q", m, c.err)
			}
		})
	}
	for _, verbose := range []bool{false, true} {
		b := newRecoverBench(t)
		if code := b.recover("--yes", "--verbose="+map[bool]string{false: "false", true: "true"}[verbose]); code != 0 {
			t.Error(code)
		}
		out := b.out.String()
		if !strings.Contains(out, "  ! mind the gap\n") || strings.Contains(out, "replaying") != verbose || !strings.Contains(out, "✓ n3 from n2 1.2 s  40 transactions with 61 rows replayed") {
			t.Errorf("verbose %t: %s", verbose, out)
		}
	}
}

func TestRecoverAsJSON(t *testing.T) {
	for status, c := range map[string]struct {
		args []string
		code int
		bad  bool
	}{
		"planned": {[]string{"--plan"}, 0, false}, "rescued": {[]string{"--yes"}, 0, false}, "failed": {[]string{"--yes"}, 1, true},
	} {
		b := newRecoverBench(t)
		b.result.OK = !c.bad
		code := b.recover(append(c.args, "--output", "json")...)
		var got struct {
			Status string
			Plan   rescue.Plan
			Result *rescue.Result
		}
		if err := json.Unmarshal([]byte(b.out.String()), &got); err != nil || code != c.code || got.Status != status || got.Plan.Targets[0].Missing.Transactions != 40 ||
			(got.Result == nil) != (b.ran == 0) {
			t.Errorf("%s: exit status %d, %v: %s", status, code, err, b.out.String())
		}
	}
}

func TestNodesBadInput(t *testing.T) {
	b := newRecoverBench(t)
	b.Manage = func(context.Context, chaos.Managing) error { t.Error("a manager was started"); return nil }
	write(t, "empty.json", `{}`)
	write(t, "broken.json", `{`)
	for args, says := range map[string]string{
		"recover":                            "--failed names no node",
		"recover --failed n1":                "no nodes: name them by --node NAME=DSN, --cluster DIR or --compose-file FILE",
		"recover --failed n1 --node n2":      `--node "n2" is not NAME=DSN`,
		"recover --failed n1 --node n2=port": "--node n2: ",
		"recover --failed n1 --node n2=host=a --node n2=host=b": "--node names n2 twice",
		"recover --failed n1 --cluster nowhere":                 "--cluster nowhere: there is no cluster.json",
		"recover --failed n1 --cluster broken.json":             "--cluster broken.json: broken.json: unexpected end",
		"recover --failed n1 --cluster empty.json":              "--cluster empty.json: it names no nodes",
		"recover --failed n1 --compose-file nowhere.yml":        "there is no nowhere.yml",
		"recover --failed n1 --cluster x --compose-file y":      "--cluster and --compose-file both",
		"recover --failed n1 --node n2=host=a --source n1":      "--source n1: that is the failed node",
		"recover --failed n1 --node n2=host=a --coordinator n1": "--coordinator n1: that is the failed node",
		"recover --failed n1 --node n2=host=a --target n3,n1":   "--target n1: that is the failed node",
		"recover --failed n1 --node n2=host=a --server-dsn n2":  `--server-dsn "n2" is not NAME=DSN`,
		"recover --failed n1 --node n2=host=a --output xml":     `--output "xml" is not known`,
		"recover --failed n1 --node n2=host=a --output json":    "--output json asks nobody: give --plan or --yes",
		"recover --failed n1 --node n2=host=a --plan --yes":     "--plan changes nothing, --yes does",
		"recover --failed n1 --node n2=host=a --plan --install": "--plan changes nothing, --install does",
		"recover --failed n1 --node n2=host=a --timeout 0s":     "--timeout 0s must be positive",
		"recover --failed n1 --node n2=host=a now":              "takes no arguments",
		"manager":                                                       "no nodes: name them by",
		"manager --node n2=host=a --period 1ms":                         "--period 1ms must be 50ms or more",
		"manager --node n2=host=a --duration -1s":                       "--duration -1s must not be negative",
		"manager --node n2=host=a --log-format loud":                    `log-format`,
		"manager --node n2=host=a --node=n2=host=b --period 100ms":      "--node names n2 twice",
		"recover --failed n1 --node n2=host=a --rescue exec:true --yes": "unknown flag",
	} {
		b.err = lockedBuffer{}
		if code := b.main(strings.Fields(args)...); code != cli.ExitNotRun {
			t.Errorf("%s: exit status %d", args, code)
		}
		if m := b.err.String(); !strings.Contains(m, says) || strings.Count(m, "\n") != 1 {
			t.Errorf("%s: %q, want one line with %q", args, m, says)
		}
	}
	if len(b.opened) > 0 {
		t.Errorf("opened %+v", b.opened)
	}
}

func TestNodesFromFiles(t *testing.T) {
	b := newRecoverBench(t)
	write(t, "cluster.json", `{"nodes": [{"name": "n1", "dsn": "host=a"}, {"name": "n2", "dsn": "host=b"}, {"name": "n3", "dsn": "host=c"}]}`)
	if code := b.main("recover", "--failed", "n1", "--cluster", ".", "--node", "n3=host=x", "--node", "n4=host=d", "--plan"); code != 0 {
		t.Fatal(b.err.String())
	}
	o := b.opened[0]
	want := []attach.Node{{Name: "n2", DSN: "host=b"}, {Name: "n3", DSN: "host=x"}, {Name: "n4", DSN: "host=d"}}
	if !slices.Equal(o.Survivors, want) || !o.Maybe["n2"] || o.Maybe["n3"] || o.Maybe["n4"] || !slices.Equal(o.FailedDSN, []string{"host=a"}) {
		t.Errorf("options %+v", o)
	}
	b.Engine = func(string) (engine.Engine, error) { return pglogical.New(), nil }
	if code := b.main("generate"); code != 0 {
		t.Fatal(b.err.String())
	}
	if code := b.main("recover", "--failed", "n1", "--compose-file", "docker-compose.yml", "--plan"); code != 0 {
		t.Fatal(b.err.String())
	}
	if o := b.opened[1]; len(o.Survivors) != 2 || !o.Maybe["n2"] || len(o.FailedDSN) != 1 || !strings.Contains(o.FailedDSN[0], "host=127.0.0.1") {
		t.Errorf("options %+v", o)
	}
}

func TestManager(t *testing.T) {
	b := newBench(t)
	var got chaos.Managing
	b.Manage = func(ctx context.Context, m chaos.Managing) error {
		got = m
		m.Log.Info("managing")
		if _, limited := ctx.Deadline(); !limited {
			b.signals <- syscall.SIGINT
		}
		<-ctx.Done()
		return nil
	}
	if code := b.main("manager", "--node", "n2=host=a", "--node", "n3=host=b", "--period", "5s", "--install", "--log-format", "console"); code != 0 ||
		!strings.Contains(b.err.String(), "the slots stay where they are") || !strings.Contains(b.err.String(), "INFO  managing") {
		t.Errorf("exit status %d; %s", code, b.err.String())
	}
	if len(got.Nodes) != 2 || got.Period != 5*time.Second || !got.Install {
		t.Errorf("%+v", got)
	}
	b.err = lockedBuffer{}
	if code := b.main("manager", "--node", "n2=host=a", "--duration", "10ms", "-q"); code != 0 || b.err.String() != "" || got.Period != time.Second {
		t.Errorf("exit status %d; %s", code, b.err.String())
	}
	b.Manage = func(context.Context, chaos.Managing) error {
		return &chaos.UsageError{Err: errors.New("n2: its DSN leads to node n3")}
	}
	if code := b.main("manager", "--node", "n2=host=a"); code != cli.ExitNotRun || b.err.String() != "spockchaos: n2: its DSN leads to node n3\n" {
		t.Errorf("exit status %d; %q", code, b.err.String())
	}
}
