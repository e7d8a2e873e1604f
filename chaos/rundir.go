package chaos

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// makeRunDir makes the run directory; one that holds anything is refused. unmake takes everything in it away, and
// of it and its parents those that were not there before: a directory that the user had made stays.
func makeRunDir(dir string) (unmake func() error, err error) {
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return nil, fmt.Errorf("report directory %s is not empty", dir)
	}
	var made []string // the innermost first
	for d := filepath.Clean(dir); ; d = filepath.Dir(d) {
		if _, err := os.Stat(d); !errors.Is(err, fs.ErrNotExist) || d == filepath.Dir(d) {
			break
		}
		made = append(made, d)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the report directory: %w", err)
	}
	return func() error {
		entries, err := os.ReadDir(dir)
		errs := []error{err}
		for _, e := range entries {
			errs = append(errs, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
		for _, d := range made {
			if os.Remove(d) != nil {
				break // somebody else uses it by now
			}
		}
		return errors.Join(errs...)
	}, nil
}
