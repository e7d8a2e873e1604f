package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// defaultRunDir is spockchaos-runs/<time>-<seed> in the working directory.
func defaultRunDir(now time.Time, seed uint64) string {
	return filepath.Join("spockchaos-runs", fmt.Sprintf("%s-%d", now.Format("20060102-150405"), seed))
}

// checkRunDir says whether a run can be written to dir: it must be empty or not
// exist, and be writable. It leaves nothing changed.
func checkRunDir(dir string) error {
	entries, err := os.ReadDir(dir)
	switch {
	case err == nil && len(entries) > 0:
		return fmt.Errorf("--report-dir %s: is not empty; a run needs a directory of its own", dir)
	case err == nil:
		return writable(dir, dir)
	case errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("--report-dir %s: is not a directory, or is below a file", dir)
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("--report-dir %s: %w", dir, errors.Unwrap(err))
	}
	parent, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("--report-dir %s: %w", dir, err)
	}
	for {
		parent = filepath.Dir(parent)
		info, err := os.Stat(parent)
		switch {
		case err == nil && !info.IsDir():
			return fmt.Errorf("--report-dir %s: %s is not a directory", dir, parent)
		case err == nil:
			return writable(dir, parent)
		case !errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("--report-dir %s: %w", dir, err)
		case parent == filepath.Dir(parent):
			return fmt.Errorf("--report-dir %s: no parent of it exists", dir)
		}
	}
}

// writable tries it: permissions alone do not tell (root, read-only mounts, /proc).
func writable(dir, where string) error {
	probe, err := os.MkdirTemp(where, ".spockchaos-*")
	if err == nil {
		err = os.Remove(probe)
	}
	if err != nil {
		var p *fs.PathError
		if errors.As(err, &p) {
			err = p.Err
		}
		return fmt.Errorf("--report-dir %s: cannot write to %s: %w", dir, where, err)
	}
	return nil
}
