package clusterfile

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// The run directory comes and goes with the file, unless somebody else has made or uses it.
func TestDirectory(t *testing.T) {
	there := func(path string) bool {
		_, err := os.Stat(path)
		return err == nil
	}
	mine := t.TempDir()
	runs := filepath.Join(mine, "runs")
	for _, c := range []struct {
		name, dir string
		used      bool // something else comes into the directory
		left      []string
	}{
		{"new", filepath.Join(runs, "first"), false, []string{mine}},
		{"the user's", mine, false, []string{mine}},
		{"used", filepath.Join(runs, "second"), true, []string{mine, runs, filepath.Join(runs, "second")}},
		{"in a used one", filepath.Join(runs, "third"), false, []string{mine, runs}},
	} {
		before := there(c.dir)
		w := NewWriter(c.dir)
		paths, err := w.Paths()
		if err != nil || paths[0] != filepath.Join(c.dir, "cluster.json") || slices.Contains(paths, mine) || slices.Contains(paths, c.dir) == before {
			t.Errorf("%s: paths %v, %v", c.name, paths, err)
		}
		if there(c.dir) != before {
			t.Errorf("%s: the directory is made for nothing", c.name)
		}
		for range 2 {
			if err := w.Write(File{Topology: "local"}); err != nil {
				t.Fatal(err)
			}
		}
		if f, err := Read(c.dir); err != nil || f.Topology != "local" {
			t.Errorf("%s: %+v, %v", c.name, f, err)
		}
		if c.used {
			if err := os.WriteFile(filepath.Join(c.dir, "run.json"), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Remove(); err != nil {
			t.Error(err)
		}
		if there(w.Path()) || there(c.dir) != slices.Contains(c.left, c.dir) || there(runs) != slices.Contains(c.left, runs) {
			t.Errorf("%s: the file is there: %t, its directory: %t, the one above: %t", c.name, there(w.Path()), there(c.dir), there(runs))
		}
		// What is written later does not bring it back.
		if err := w.Write(File{}); err != nil || there(w.Path()) {
			t.Errorf("%s: the file is back: %v", c.name, err)
		}
	}
}

// Whatever a program was doing when it was killed: what Paths names, removed in that order, is all that it has left.
func TestPathsOfAKilledProgram(t *testing.T) {
	above := t.TempDir()
	w := NewWriter(filepath.Join(above, "runs", "first"))
	if err := w.Write(File{}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(w.next(), []byte("{"), 0o600); err != nil { // as Write does
		t.Fatal(err)
	}
	paths, err := w.Paths()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range paths {
		if err := os.Remove(p); err != nil {
			t.Error(err)
		}
	}
	if left, err := os.ReadDir(above); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// A file that cannot be replaced leaves nothing of the new one.
func TestWriteFails(t *testing.T) {
	w := NewWriter(t.TempDir())
	if err := os.MkdirAll(filepath.Join(w.Path(), "in the way"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := w.Write(File{}); err == nil {
		t.Error("it was replaced")
	}
	if _, err := os.Stat(w.next()); err == nil {
		t.Error("the new one is left")
	}
}

func TestNowhere(t *testing.T) {
	w := NewWriter("")
	if paths, err := w.Paths(); len(paths) > 0 || err != nil {
		t.Errorf("%v, %v", paths, err)
	}
	if err := w.Write(File{}); err != nil {
		t.Error(err)
	}
	if err := w.Remove(); err != nil {
		t.Error(err)
	}
}
