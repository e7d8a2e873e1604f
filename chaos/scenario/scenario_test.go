package scenario

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/spockchaos/spockchaos/chaos"
	"github.com/spockchaos/spockchaos/checker/rundir"
)

// TestFourNodes runs the whole scenario with a survivor that is neither source nor target.
func TestFourNodes(t *testing.T) {
	var told []int
	res, err := Run(context.Background(), testConfig(t, 4), testDeps(t), func(s Step) {
		told = append(told, s.Number)
		logStep(t, s)
	})
	if err != nil {
		t.Fatal(err)
	}
	if !res.Passed || len(res.Steps) != 9 || len(told) != 9 || res.Nodes != 4 || res.Postgres == "" || !strings.HasPrefix(res.Engine, "pglogical 2.") {
		t.Fatalf("%+v, told %v", res, told)
	}
	for _, s := range res.Steps {
		if s.Status != Passed || len(s.Evidence) == 0 {
			t.Errorf("step %d is %s with %d pieces of evidence", s.Number, s.Status, len(s.Evidence))
		}
	}
	// What the rescue had to do is what the scenario is about.
	if n := number(t, res.Steps[5], "had_already"); n < 5 {
		t.Errorf("the slot holds %d transactions that the target has already, want 5 or more", n)
	}
	if data, all := number(t, res.Steps[5], "recoverable"), number(t, res.Steps[6], "lacking"); data < 30 || all <= data {
		t.Errorf("the target lacked %d transactions, %d at the loss", data, all)
	}
	if n := number(t, res.Steps[7], "transactions"); n != number(t, res.Steps[6], "lacking") {
		t.Errorf("%d transactions were rescued", n)
	}
}

func TestBadConfig(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"two nodes":      {func(c *Config) { c.Nodes = 2 }, "3 nodes or more"},
		"no such file":   {func(c *Config) { c.RecoverySQL = "/no/such.sql" }, "/no/such.sql"},
		"no such engine": {func(c *Config) { c.Engine = "x" }, `engine "x"`},
		"no topology":    {func(c *Config) { c.Topology = "x" }, `topology "x"`},
		"no PostgreSQL":  {func(c *Config) { c.PGBin = "/no/such" }, "/no/such"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := Config{Nodes: 3, Engine: "pglogical", Topology: "local"}
			c.change(&cfg)
			_, err := Run(context.Background(), cfg, testDeps(t), func(s Step) { t.Errorf("told %+v", s) })
			var usage *chaos.UsageError
			if !errors.As(err, &usage) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// TestSteps runs made-up steps: what a step must do to pass, and what becomes of the rest.
func TestSteps(t *testing.T) {
	good := func(_ context.Context, e *evidence) error { e.some("rows", 3, "%d rows", 3); return nil }
	for name, c := range map[string]struct {
		second func(context.Context, *evidence) error
		want   Status
		says   string
	}{
		"good":             {good, Passed, ""},
		"nothing to show":  {func(context.Context, *evidence) error { return nil }, Failed, "nothing to show"},
		"details only":     {func(_ context.Context, e *evidence) error { e.detail("x"); return nil }, Failed, "nothing to show"},
		"counted nothing":  {func(_ context.Context, e *evidence) error { e.some("rows", 0, "0 rows"); return nil }, Failed, "rows is 0"},
		"a problem":        {func(ctx context.Context, e *evidence) error { e.problem("lost %d", 1); return good(ctx, e) }, Failed, "lost 1"},
		"an error":         {func(ctx context.Context, e *evidence) error { _ = good(ctx, e); return errors.New("broke") }, Failed, "broke"},
		"zero is evidence": {func(_ context.Context, e *evidence) error { e.fact("leftovers", 0, "none"); return nil }, Passed, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(Config{Nodes: 3}, testDeps(t), chaos.RecoverySQL{})
			var told []Status
			res, err := s.run(context.Background(), []step{{"one", good}, {"two", c.second}, {"three", good}}, func(s Step) { told = append(told, s.Status) })
			if err != nil {
				t.Fatal(err)
			}
			third := NotRun
			if c.want == Passed {
				third = Passed
			}
			if len(told) != 3 || told[0] != Passed || told[1] != c.want || told[2] != third || res.Passed != (c.want == Passed) {
				t.Fatalf("told %v, passed %t", told, res.Passed)
			}
			if all := strings.Join(res.Steps[1].Problems, "; "); !strings.Contains(all, c.says) || (c.says == "") != (all == "") {
				t.Errorf("problems %q, want %q", all, c.says)
			}
		})
	}
}

// What the engine had to be helped with is told with the step in which it was.
func TestWokenIsTold(t *testing.T) {
	s := newScene(Config{}, testDeps(t), chaos.RecoverySQL{})
	waking := func(_ context.Context, e *evidence) error {
		s.woken(rundir.Woken{Node: "n3", Provider: "n2", Down: 6200 * time.Millisecond})
		e.fact("x", 1, "x")
		return nil
	}
	quiet := func(_ context.Context, e *evidence) error { e.fact("x", 1, "x"); return nil }
	res, err := s.run(context.Background(), []step{{"one", quiet}, {"two", waking}, {"three", quiet}}, func(Step) {})
	if err != nil || !res.Passed {
		t.Fatalf("%v, %+v", err, res)
	}
	for i, want := range []int{0, 1, 0} {
		if notes := res.Steps[i].Notes; len(notes) != want || want == 1 && !strings.Contains(notes[0], "n3's subscription to n2 had no apply worker for 6.2 s and was restarted") {
			t.Errorf("step %d: notes %q", i+1, notes)
		}
	}
}

// Without a cluster there is nothing to judge, and an interruption is no verdict.
func TestNotRun(t *testing.T) {
	good := func(_ context.Context, e *evidence) error { e.fact("x", 1, "x"); return nil }
	bad := errors.New("no room")
	s := newScene(Config{}, testDeps(t), chaos.RecoverySQL{})
	if _, err := s.run(context.Background(), []step{{"one", func(context.Context, *evidence) error { return bad }}}, func(Step) { t.Error("told") }); !errors.Is(err, bad) {
		t.Errorf("error %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	interrupted := func(ctx context.Context, _ *evidence) error { cancel(); return ctx.Err() }
	told := 0
	_, err := s.run(ctx, []step{{"one", good}, {"two", interrupted}, {"three", good}}, func(Step) { told++ })
	if err == nil || !strings.Contains(err.Error(), "interrupted in step 2") || told != 1 {
		t.Errorf("error %v, %d told", err, told)
	}
}

// What is awaited and does not come is said with what was missing.
func TestAwait(t *testing.T) {
	s := newScene(Config{}, testDeps(t), chaos.RecoverySQL{})
	looks := 0
	err := s.await(context.Background(), 150*time.Millisecond, nil, "rain", func(context.Context) (string, error) {
		looks++
		return "the clouds", nil
	})
	if err == nil || err.Error() != "rain: not within 150ms: the clouds" || looks < 2 {
		t.Errorf("error %v after %d looks", err, looks)
	}
	if err := s.await(context.Background(), time.Minute, nil, "rain", func(context.Context) (string, error) { return "", nil }); err != nil {
		t.Error(err)
	}
}

func TestRanges(t *testing.T) {
	for _, c := range []struct {
		all  []int
		want string
	}{{nil, "none"}, {[]int{4}, "4"}, {[]int{1, 2, 3}, "1-3"}, {[]int{1, 3, 4, 9}, "1, 3-4, 9"}, {[]int{2, 2, 3}, "2, 2-3"}} {
		if got := ranges(c.all); got != c.want {
			t.Errorf("%v is %q, want %q", c.all, got, c.want)
		}
	}
}
