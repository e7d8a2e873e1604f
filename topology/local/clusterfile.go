package local

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spockchaos/spockchaos/checker/rundir"
)

// File is cluster.json: how to reach a cluster that is up. It holds the password, so it is
// readable by its owner alone.
type File struct {
	Version  string     `json:"version"` // of PostgreSQL
	Engine   string     `json:"engine"`
	Database string     `json:"database"`
	Root     string     `json:"root"` // the cluster's directory
	Nodes    []FileNode `json:"nodes"`
	Links    []FileLink `json:"links"`
	// Detached says that the program that made the cluster is gone, and the links with it.
	Detached bool   `json:"detached,omitempty"`
	Stop     string `json:"stop,omitempty"` // the command that ends a detached cluster
}

// FileNode is one node in cluster.json.
type FileNode struct {
	Name string `json:"name"`
	DSN  string `json:"dsn"`
	Data string `json:"data"`
	PID  int    `json:"pid"` // 0 while it is down
	Log  string `json:"log"`
}

// FileLink is one link in cluster.json: From reaches To at Addr.
type FileLink struct {
	From string `json:"from"`
	To   string `json:"to"`
	Addr string `json:"addr"`
}

// ReadFile reads cluster.json of a run directory.
func ReadFile(dir string) (File, error) {
	var f File
	path := filepath.Join(dir, rundir.ClusterFile)
	b, err := os.ReadFile(path)
	if err != nil {
		return f, err
	}
	if err := json.Unmarshal(b, &f); err != nil {
		return f, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}

// changed writes cluster.json again. That it cannot be written does not break the cluster, so it is only logged.
func (c *Cluster) changed() {
	if err := c.writeFile(false); err != nil {
		c.log.Warn("cannot write " + rundir.ClusterFile + ": " + err.Error())
	}
}

func (c *Cluster) writeFile(detached bool) error {
	if c.opts.Dir == "" {
		return nil
	}
	f := File{Version: c.version, Engine: c.opts.Engine.Name(), Database: Database, Root: c.root, Detached: detached}
	for _, n := range c.nodes {
		fn := FileNode{Name: n.name, DSN: n.dsn, Data: n.data, Log: n.logPath()}
		if p := n.running(); p != nil {
			fn.PID = p.pid
		}
		f.Nodes = append(f.Nodes, fn)
	}
	if detached {
		f.Stop = c.stopCommand()
	} else {
		for _, l := range c.Links() {
			f.Links = append(f.Links, FileLink{From: l.From(), To: l.To(), Addr: l.Addr()})
		}
	}
	b, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err
	}
	c.fileMu.Lock()
	defer c.fileMu.Unlock()
	if c.fileGone {
		return nil
	}
	// Through a new file, so that a reader never sees half of it.
	tmp := filepath.Join(c.opts.Dir, "."+rundir.ClusterFile+".tmp")
	if err := os.WriteFile(tmp, append(b, '\n'), 0o600); err != nil {
		return err
	}
	path := filepath.Join(c.opts.Dir, rundir.ClusterFile)
	if abs, err := filepath.Abs(path); err == nil {
		c.watchdog.tell(message{Op: opFile, Path: abs})
	}
	return os.Rename(tmp, path)
}

func (c *Cluster) removeFile() error {
	if c.opts.Dir == "" {
		return nil
	}
	c.fileMu.Lock()
	defer c.fileMu.Unlock()
	c.fileGone = true
	if err := os.Remove(filepath.Join(c.opts.Dir, rundir.ClusterFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
