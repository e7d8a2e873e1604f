package chaos

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest"

	"github.com/spockchaos/spockchaos/checker"
	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/topology/local/localtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testConfig is a short, light run. Its faults are the caller's.
func testConfig(t testing.TB, faults ...string) Config {
	t.Helper()
	return Config{
		Duration: time.Second, Seed: 5, Nodes: 3, Engine: "auto", Topology: "local",
		PGBin:     os.Getenv("SPOCKCHAOS_TEST_PG_BIN"),
		Workloads: []string{"ledger", "register", "counter", "bank"}, Rate: 400,
		Faults: faults, Chaos: 6 * time.Second, Rounds: "fresh",
		Dir: filepath.Join(t.TempDir(), "run"), ManagerPeriod: 500 * time.Millisecond,
	}
}

func testDeps(t testing.TB, level zapcore.Level) Deps {
	t.Helper()
	return Deps{
		Log:             zap.New(zaptest.NewLogger(t, zaptest.Level(level)).Core()),
		Clock:           time.Now,
		Version:         "test",
		WatchdogCommand: localtest.WatchdogCommand(t),
	}
}

// kinds counts a result's findings by kind.
func kinds(findings []checker.Finding) map[checker.Kind]int {
	n := map[checker.Kind]int{}
	for _, f := range findings {
		n[f.Kind]++
	}
	return n
}

func checkRound(t testing.TB, dir string, number int) checker.RoundResult {
	t.Helper()
	d, err := rundir.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	res, err := checker.CheckRound(context.Background(), d.Run, dir, number)
	if err != nil {
		t.Fatal(err)
	}
	return res
}
