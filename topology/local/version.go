package local

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// serverVersion asks binDir's postgres what it is.
func serverVersion(ctx context.Context, binDir string) (string, int, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, filepath.Join(binDir, "postgres"), "--version").Output()
	if err != nil {
		return "", 0, fmt.Errorf("%s has no working postgres: %w", binDir, err)
	}
	version, number, err := parseVersion(string(out))
	if err != nil {
		return "", 0, fmt.Errorf("%s/postgres --version: %w", binDir, err)
	}
	return version, number, nil
}

// parseVersion reads "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)" or pg_config's
// "PostgreSQL 15.18": "15.18" and 150018. Betas ("19beta1") count as release 0.
func parseVersion(s string) (string, int, error) {
	for _, w := range strings.Fields(s) {
		if w[0] < '0' || w[0] > '9' {
			continue
		}
		digits := strings.TrimLeft(w, "0123456789")
		major, err := strconv.Atoi(w[:len(w)-len(digits)])
		if err != nil || major > 9999 {
			break
		}
		minor := 0
		if rest, ok := strings.CutPrefix(digits, "."); ok {
			if minor, err = strconv.Atoi(rest); err != nil || minor < 0 || minor > 9999 {
				break
			}
		}
		return w, major*10000 + minor, nil
	}
	return "", 0, fmt.Errorf("no version in %q", strings.TrimSpace(s))
}
