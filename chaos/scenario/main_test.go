package scenario

import (
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest"

	"github.com/spockchaos/spockchaos/chaos"
	"github.com/spockchaos/spockchaos/topology/local/localtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func testConfig(t *testing.T, nodes int) Config {
	t.Helper()
	return Config{Nodes: nodes, Engine: "auto", Topology: "local", PGBin: localtest.BinDir(t)}
}

func testDeps(t *testing.T) chaos.Deps {
	t.Helper()
	return chaos.Deps{
		Log: zaptest.NewLogger(t, zaptest.Level(zapcore.WarnLevel)), Clock: time.Now, Version: "test",
		WatchdogCommand: localtest.WatchdogCommand(t),
	}
}

// logStep shows a step in the test's log.
func logStep(t *testing.T, s Step) {
	t.Helper()
	t.Logf("%d %s: %s, %.1f s", s.Number, s.Title, s.Status, s.Seconds)
	for _, f := range s.Evidence {
		t.Logf("    %s", f.Text)
	}
	for _, n := range s.Notes {
		t.Logf("    ! %s", n)
	}
	for _, p := range s.Problems {
		t.Logf("    ✗ %s", p)
	}
}

// number is a piece of evidence of a step.
func number(t *testing.T, s Step, name string) int64 {
	t.Helper()
	for _, f := range s.Evidence {
		if f.Name == name {
			switch v := f.Value.(type) {
			case int:
				return int64(v)
			case int64:
				return v
			}
		}
	}
	t.Errorf("step %d shows no number %s", s.Number, name)
	return 0
}
