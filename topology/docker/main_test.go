package docker

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/spockchaos/spockchaos/topology/watchdog"
)

// watchdogEnv makes the test binary a watchdog.
const watchdogEnv = "SPOCKCHAOS_TEST_WATCHDOG"

func TestMain(m *testing.M) {
	if os.Getenv(watchdogEnv) != "" {
		os.Exit(watchdog.Main(os.Stdin, watchdog.Ends{WatchdogEnd: Destroy}))
	}
	goleak.VerifyTestMain(m)
}
