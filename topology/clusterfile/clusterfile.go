// Package clusterfile is cluster.json: how to reach a cluster that is up, whatever it is made of. It lies in the run
// directory and holds the password, so it is readable by its owner alone.
package clusterfile

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/spockchaos/spockchaos/checker/rundir"
)

// File is the contents of cluster.json.
type File struct {
	Topology string `json:"topology"`
	Version  string `json:"version"` // of PostgreSQL
	Engine   string `json:"engine"`
	Database string `json:"database"`
	Root     string `json:"root,omitempty"` // local: the cluster's directory
	Run      string `json:"run,omitempty"`  // docker: the value of the label io.spockchaos.run
	Nodes    []Node `json:"nodes"`
	Links    []Link `json:"links"`
	// Toxiproxy is where Toxiproxy's own API to the links is, for toxiproxy-cli, if it is anywhere.
	Toxiproxy string `json:"toxiproxy,omitempty"`
	// Detached says that the program that made the cluster is gone, and its own links with it.
	Detached bool   `json:"detached,omitempty"`
	Stop     string `json:"stop,omitempty"` // the command that ends a detached cluster
}

// Node is one node: a process with its files, or a container.
type Node struct {
	Name      string `json:"name"`
	DSN       string `json:"dsn"`
	Data      string `json:"data,omitempty"`
	PID       int    `json:"pid"` // of the server; 0 while it is down
	Log       string `json:"log,omitempty"`
	Container string `json:"container,omitempty"`
}

// Link is one link: From reaches To at Addr.
type Link struct {
	From string `json:"from"`
	To   string `json:"to"`
	Addr string `json:"addr"`
}

// Read reads cluster.json of a run directory, or the file that is named itself.
func Read(path string) (File, error) {
	var f File
	if info, err := os.Stat(path); err != nil || info.IsDir() {
		path = filepath.Join(path, rundir.ClusterFile)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return f, err
	}
	if err := json.Unmarshal(b, &f); err != nil {
		return f, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}

// Writer keeps cluster.json of a run directory up to date. The file is the first thing in there: the directory comes
// with it, and goes with it if nothing else has come. It is safe for concurrent use; the zero value writes nowhere.
type Writer struct {
	dir  string
	made []string // of dir and its parents those that were not there, the innermost first

	mu   sync.Mutex
	gone bool
}

// NewWriter is for the run directory dir; "" writes nowhere.
func NewWriter(dir string) *Writer {
	w := &Writer{dir: dir}
	if dir == "" {
		return w
	}
	for d := filepath.Clean(dir); d != filepath.Dir(d); d = filepath.Dir(d) {
		if _, err := os.Stat(d); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		w.made = append(w.made, d)
	}
	return w
}

// Path of the file, "" for nowhere.
func (w *Writer) Path() string {
	if w.dir == "" {
		return ""
	}
	return filepath.Join(w.dir, rundir.ClusterFile)
}

// Paths are what is to be removed when the cluster is gone, by their absolute names and in this order: the file, what a
// program that was killed while writing it left of the next one, and those directories that came with it, unless there is something else in them by then.
func (w *Writer) Paths() ([]string, error) {
	if w.dir == "" {
		return nil, nil
	}
	var paths []string
	for _, p := range append([]string{w.Path(), w.next()}, w.made...) {
		path, err := filepath.Abs(p)
		if err != nil {
			return nil, err
		}
		paths = append(paths, path)
	}
	return paths, nil
}

// Write replaces the file, unless it was removed.
func (w *Writer) Write(f File) error {
	if w.dir == "" {
		return nil
	}
	b, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.gone {
		return nil
	}
	if err := os.MkdirAll(w.dir, 0o755); err != nil {
		return err
	}
	// Through a new file, so that a reader never sees half of it.
	err = os.WriteFile(w.next(), append(b, '\n'), 0o600)
	if err == nil {
		err = os.Rename(w.next(), w.Path())
	}
	if err != nil {
		_ = os.Remove(w.next())
	}
	return err
}

// next is the file while it is written.
func (w *Writer) next() string { return filepath.Join(w.dir, "."+rundir.ClusterFile+".tmp") }

// Remove removes the file for good, and the directories that came with it if they are empty.
func (w *Writer) Remove() error {
	if w.dir == "" {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gone = true
	if err := os.Remove(w.Path()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, d := range w.made {
		if os.Remove(d) != nil {
			break // it is in use
		}
	}
	return nil
}
