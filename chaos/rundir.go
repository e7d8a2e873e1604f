package chaos

import (
	"fmt"
	"os"
)

// checkRunDir refuses a run directory that holds anything. It is made with the first file in it, cluster.json, and goes with
// that if set-up comes to nothing.
func checkRunDir(dir string) error {
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return fmt.Errorf("report directory %s is not empty", dir)
	}
	return nil
}
