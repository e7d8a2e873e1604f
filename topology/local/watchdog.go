package local

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// message is one line from the program to its watchdog.
type message struct {
	Op   string `json:"op"`
	Path string `json:"path,omitempty"`
	PID  int    `json:"pid,omitempty"`
}

const (
	opRoot = "root" // Path is the cluster's directory
	opNode = "node" // Path is a data directory, PID its postmaster
	opFile = "file" // Path is a file that goes with the cluster (cluster.json)
	opDone = "done" // the cluster is gone, or is to stay: end without doing anything
)

// marker is a file in a cluster's directory. The watchdog removes no directory without it.
const marker = ".spockchaos-cluster"

// watchdogLimit is how long the watchdog tries.
const watchdogLimit = 30 * time.Second

// WatchdogMain is the watchdog: it reads what it is told from stdin, and at an end of file that was not
// announced it kills every server of the cluster and removes the cluster's directory. It ignores the signals of a terminal.
// The result is an exit status.
func WatchdogMain(stdin io.Reader) int {
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	var root string
	var files []string
	lines := bufio.NewScanner(stdin)
	for lines.Scan() {
		var m message
		if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
			continue // the last line of a program that died while writing
		}
		switch m.Op {
		case opRoot:
			root = m.Path
		case opFile:
			files = append(files, m.Path)
		case opDone:
			return 0
		}
	}
	if root == "" {
		return 0
	}
	ctx, cancel := context.WithTimeout(context.Background(), watchdogLimit)
	defer cancel()
	if err := destroy(ctx, root); err != nil {
		return 1
	}
	for _, f := range files {
		if filepath.IsAbs(f) {
			_ = os.Remove(f)
		}
	}
	return 0
}

// destroy kills every server below a cluster's directory and removes it.
func destroy(ctx context.Context, root string) error {
	if !filepath.IsAbs(root) {
		return fmt.Errorf("%s is no absolute path", root)
	}
	if _, err := os.Stat(filepath.Join(root, marker)); err != nil {
		return fmt.Errorf("%s is no cluster's directory: %w", root, err)
	}
	if err := killServers(ctx, root); err != nil {
		return err
	}
	data, _ := filepath.Glob(filepath.Join(root, "*", "data"))
	for _, d := range data {
		dropSharedMemory(d)
	}
	return os.RemoveAll(root)
}

// watchdog is the running child, seen from the program. A nil watchdog does nothing.
type watchdog struct {
	mu   sync.Mutex
	in   io.WriteCloser
	gone chan struct{}
}

func startWatchdog(argv []string) (*watchdog, error) {
	if len(argv) == 0 {
		return nil, nil
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("starting the watchdog: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the watchdog: %w", err)
	}
	w := &watchdog{in: in, gone: make(chan struct{})}
	go func() {
		_ = cmd.Wait()
		close(w.gone)
	}()
	return w, nil
}

// tell sends a message. A watchdog that died is noticed by alive, not here.
func (w *watchdog) tell(m message) {
	if w == nil {
		return
	}
	b, err := json.Marshal(m)
	if err != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	_, _ = w.in.Write(append(b, '\n'))
}

// dismiss ends the watchdog without letting it do anything.
func (w *watchdog) dismiss(ctx context.Context) error {
	if w == nil {
		return nil
	}
	w.tell(message{Op: opDone})
	w.mu.Lock()
	_ = w.in.Close()
	w.mu.Unlock()
	select {
	case <-w.gone:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the watchdog does not end: %w", ctx.Err())
	}
}
