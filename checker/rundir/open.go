package rundir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// Dir is a run directory that was recognised.
type Dir struct {
	Path string
	Run  Run
}

// Open recognises a run directory by its run.json. The error is one line that
// names the directory and says why it is none, or that a newer program made it.
func Open(dir string) (*Dir, error) {
	st, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: no such directory", dir)
	}
	if err != nil {
		return nil, fmt.Errorf("opening run directory: %w", err)
	}
	if !st.IsDir() {
		return nil, fmt.Errorf("%s is not a run directory: it is a file", dir)
	}
	var run Run
	err = ReadJSON(filepath.Join(dir, RunFile), &run)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is not a run directory: it has no %s", dir, RunFile)
	}
	if err != nil {
		return nil, err
	}
	switch {
	case run.SchemaVersion == 0:
		return nil, fmt.Errorf("%s is not a run directory: its %s has no schema_version", dir, RunFile)
	case run.SchemaVersion > SchemaVersion:
		return nil, fmt.Errorf("%s was made by a newer spockchaos: its schema_version is %d, this one reads up to %d",
			dir, run.SchemaVersion, SchemaVersion)
	case run.SchemaVersion < 0:
		return nil, fmt.Errorf("%s: schema_version %d makes no sense", filepath.Join(dir, RunFile), run.SchemaVersion)
	case len(run.Nodes) == 0:
		return nil, fmt.Errorf("%s: names no nodes", filepath.Join(dir, RunFile))
	case run.Rounds < 0:
		return nil, fmt.Errorf("%s: %d rounds make no sense", filepath.Join(dir, RunFile), run.Rounds)
	}
	return &Dir{Path: dir, Run: run}, nil
}

// Round reads round.json of round n.
func (d *Dir) Round(n int) (Round, error) {
	var r Round
	err := ReadJSON(filepath.Join(RoundDir(d.Path, n), RoundFile), &r)
	return r, err
}

// Rounds is how many rounds were begun: what run.json says, or more if there are
// directories of later ones. A run that was killed never came to write it.
func (d *Dir) Rounds() (int, error) {
	entries, err := os.ReadDir(filepath.Dir(RoundDir(d.Path, 1)))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("looking for rounds: %w", err)
	}
	n := d.Run.Rounds
	for _, e := range entries {
		if i, err := strconv.Atoi(e.Name()); err == nil && e.IsDir() && RoundDir(d.Path, i) == filepath.Join(d.Path, "rounds", e.Name()) {
			n = max(n, i)
		}
	}
	return n, nil
}
