package local

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/spockchaos/spockchaos/topology/server"
)

// serverVersion asks binDir's postgres what it is.
func serverVersion(ctx context.Context, binDir string) (string, int, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, filepath.Join(binDir, "postgres"), "--version").Output()
	if err != nil {
		return "", 0, fmt.Errorf("%s has no working postgres: %w", binDir, err)
	}
	version, number, err := server.ParseVersion(string(out))
	if err != nil {
		return "", 0, fmt.Errorf("%s/postgres --version: %w", binDir, err)
	}
	return version, number, nil
}
