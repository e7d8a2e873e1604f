package rundir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
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
