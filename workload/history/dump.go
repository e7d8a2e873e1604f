package history

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// FileExt is the ending of a history file's name.
const FileExt = ".hist"

type jsonOp struct {
	File        string       `json:"file,omitempty"`
	Session     int          `json:"session"`
	Node        string       `json:"node"`
	Workload    string       `json:"workload"`
	N           int64        `json:"n"`
	InvokedAt   time.Time    `json:"invoked_at"`
	CompletedAt time.Time    `json:"completed_at,omitzero"`
	Outcome     string       `json:"outcome"`
	SQLState    string       `json:"sqlstate,omitempty"`
	Value       int64        `json:"value"`
	Effects     []jsonEffect `json:"effects,omitempty"`
}

type jsonEffect struct {
	Kind  string `json:"kind"`
	Key   int64  `json:"key,omitempty"`
	Key2  int64  `json:"key2,omitempty"`
	Value int64  `json:"value,omitempty"`
}

// jsonEnd stands after the operations of a file whose last record is torn.
type jsonEnd struct {
	File      string `json:"file,omitempty"`
	Session   int    `json:"session"`
	Truncated bool   `json:"truncated"`
}

// DumpJSON writes the operations of a history as JSON lines. path is a history file
// or a directory: then every history below it is written, in the order of rounds
// and sessions, and each line names its file. A directory without any is an error.
func DumpJSON(w io.Writer, path string) error {
	out := bufio.NewWriterSize(w, 64<<10)
	st, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("history: %w", err)
	}
	if !st.IsDir() {
		if err := dumpFile(out, path, ""); err != nil {
			return errors.Join(err, out.Flush())
		}
		return out.Flush()
	}
	files, err := Files(path)
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return fmt.Errorf("%s: no history (*%s) in this directory", path, FileExt)
	}
	for _, f := range files {
		name, err := filepath.Rel(path, f)
		if err != nil {
			name = f
		}
		if err := dumpFile(out, f, name); err != nil {
			return errors.Join(err, out.Flush())
		}
	}
	return out.Flush()
}

// Files lists the history files below dir, session 2 before session 10.
func Files(dir string) ([]string, error) {
	var files []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasSuffix(p, FileExt) {
			files = append(files, p)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list histories: %w", err)
	}
	slices.SortFunc(files, func(a, b string) int {
		da, fa := filepath.Split(a)
		db, fb := filepath.Split(b)
		if da != db {
			return strings.Compare(da, db)
		}
		if len(fa) != len(fb) {
			return len(fa) - len(fb)
		}
		return strings.Compare(fa, fb)
	})
	return files, nil
}

func dumpFile(w io.Writer, path, name string) error {
	r, err := Open(path)
	if errors.Is(err, ErrNoHeader) {
		return nil // nothing was recorded in it
	}
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	h := r.Header()
	enc := json.NewEncoder(w)
	var op Op
	line := jsonOp{File: name, Session: h.Session, Node: h.Node, Workload: h.Workload}
	for {
		err := r.Next(&op)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		line.N, line.InvokedAt, line.CompletedAt = op.N, op.InvokedAt, op.CompletedAt
		line.Outcome, line.SQLState = op.Outcome.String(), op.SQLState
		line.Value = LedgerValue(h.Seed, h.Session, op.N)
		line.Effects = line.Effects[:0]
		for _, e := range op.Effects {
			line.Effects = append(line.Effects, jsonEffect{e.Kind.String(), e.Key, e.Key2, e.Value})
		}
		if err := enc.Encode(&line); err != nil {
			return fmt.Errorf("write history as JSON: %w", err)
		}
	}
	if r.Truncated() {
		if err := enc.Encode(jsonEnd{name, h.Session, true}); err != nil {
			return fmt.Errorf("write history as JSON: %w", err)
		}
	}
	return nil
}
