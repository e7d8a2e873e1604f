package local_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/spockchaos/spockchaos/topology/local"
)

// watchdogEnv makes the test binary a watchdog.
const watchdogEnv = "SPOCKCHAOS_TEST_WATCHDOG"

func TestMain(m *testing.M) {
	if os.Getenv(watchdogEnv) != "" {
		os.Exit(local.WatchdogMain(os.Stdin))
	}
	goleak.VerifyTestMain(m)
}
