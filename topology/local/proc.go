package local

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// process is one line of /proc: enough to know a process again, whose it is and how it is.
type process struct {
	pid, parent int
	name        string
	state       byte   // 'R', 'S', 'T' (stopped), 'Z' …
	started     uint64 // clock ticks since boot; with the pid it is unique
}

// parseStat reads /proc/PID/stat. The name stands in parentheses and may hold any byte,
// parentheses and blanks too, so the fields are counted from the last ')'.
func parseStat(b []byte) (process, error) {
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 2 || end < open {
		return process{}, errors.New("no process name")
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b[:open])))
	if err != nil {
		return process{}, fmt.Errorf("process id: %w", err)
	}
	f := strings.Fields(string(b[end+1:]))
	if len(f) < 20 || len(f[0]) != 1 {
		return process{}, fmt.Errorf("%d fields after the name", len(f))
	}
	parent, err := strconv.Atoi(f[1])
	if err != nil {
		return process{}, fmt.Errorf("parent: %w", err)
	}
	started, err := strconv.ParseUint(f[19], 10, 64)
	if err != nil {
		return process{}, fmt.Errorf("start time: %w", err)
	}
	return process{pid: pid, parent: parent, name: string(b[open+1 : end]), state: f[0][0], started: started}, nil
}

// look reads one process; ok is false when there is none, or a zombie only.
func look(pid int) (p process, ok bool) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return process{}, false
	}
	p, err = parseStat(b)
	return p, err == nil && p.state != 'Z' && p.state != 'X'
}

// workingDir of a process, "" when it cannot be told. A removed directory keeps its name.
func workingDir(pid int) string {
	d, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid))
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(d, " (deleted)")
}

// ours are the programs that a server or initdb consists of. A user's shell that stands in a data
// directory is not among them.
func ours(name string) bool {
	return name == "postgres" || name == "initdb" || strings.HasPrefix(name, "pg_")
}

// serversIn lists the living PostgreSQL processes whose working directory is dir or below
// it. Each server process works in its data directory, whatever became of its parent, so
// this finds what a list of children misses.
func serversIn(dir string) ([]process, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("listing processes: %w", err)
	}
	var all []process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		p, ok := look(pid)
		if !ok || !ours(p.name) {
			continue
		}
		if wd := workingDir(pid); wd == dir || strings.HasPrefix(wd, dir+string(filepath.Separator)) {
			all = append(all, p)
		}
	}
	return all, nil
}
