package local

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spockchaos/spockchaos/topology/watchdog"
)

// WatchdogEnd is the word by which a cluster tells its watchdog of its directory; Destroy ends it.
const WatchdogEnd = "root"

// WatchdogMain is a watchdog that knows local clusters alone.
func WatchdogMain(stdin io.Reader) int {
	return watchdog.Main(stdin, watchdog.Ends{WatchdogEnd: Destroy})
}

// Destroy kills every server below a cluster's directory and removes it.
func Destroy(ctx context.Context, root string) error {
	if !filepath.IsAbs(root) {
		return fmt.Errorf("%s is no absolute path", root)
	}
	if _, err := os.Stat(filepath.Join(root, marker)); err != nil {
		return fmt.Errorf("%s is no cluster's directory: %w", root, err)
	}
	if err := killServers(ctx, root); err != nil {
		return err
	}
	data, _ := filepath.Glob(filepath.Join(root, "*", "data"))
	for _, d := range data {
		dropSharedMemory(d)
	}
	return os.RemoveAll(root)
}
