package chaos

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestRunDir(t *testing.T) {
	exists := func(path string) bool {
		_, err := os.Stat(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		return err == nil
	}
	// fill is what a set-up does that fails later.
	fill := func(dir string) {
		if err := os.MkdirAll(filepath.Join(dir, "rounds", "001"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "run.json"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	mine := t.TempDir()
	for dir, left := range map[string]bool{filepath.Join(mine, "runs", "first"): false, mine: true} {
		unmake, err := makeRunDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		fill(dir)
		if _, err := makeRunDir(dir); err == nil {
			t.Errorf("%s is made though it holds something", dir)
		}
		if err := unmake(); err != nil {
			t.Error(err)
		}
		if exists(dir) != left {
			t.Errorf("%s is there: %t, want %t", dir, !left, left)
		}
		if entries, err := os.ReadDir(mine); err != nil || len(entries) > 0 {
			t.Errorf("left: %v, %v", entries, err)
		}
	}
}
