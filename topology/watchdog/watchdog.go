// Package watchdog ends what a program would leave behind when it is killed: a child process that holds a
// pipe from the program and acts at the pipe's end of file.
package watchdog

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
	What string `json:"what,omitempty"`
}

const (
	opFile = "file" // a file that is removed last (cluster.json), or a directory if it is empty
	opDone = "done" // everything is gone, or is to stay: end without doing anything
)

// limit is how long the watchdog tries.
const limit = 60 * time.Second

// Ends are the ways to end something, by the word that the program uses for it in Tell.
type Ends map[string]func(ctx context.Context, what string) error

// Main is the watchdog: it reads what it is told from stdin, and at an end of file that was not announced it ends
// everything that it was told of. It ignores the signals of a terminal. The result is an exit status.
func Main(stdin io.Reader, ends Ends) int {
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	var told []message
	lines := bufio.NewScanner(stdin)
	for lines.Scan() {
		var m message
		if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
			continue // the last line of a program that died while writing
		}
		if m.Op == opDone {
			return 0
		}
		told = append(told, m)
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	for _, m := range told {
		if end := ends[m.Op]; end != nil {
			if err := end(ctx, m.What); err != nil {
				return 1
			}
		}
	}
	for _, m := range told {
		if m.Op == opFile && filepath.IsAbs(m.What) {
			_ = os.Remove(m.What)
		}
	}
	return 0
}

// Watchdog is the running child, seen from the program. A nil Watchdog does nothing.
type Watchdog struct {
	mu   sync.Mutex
	in   io.WriteCloser
	gone chan struct{}
}

// Start starts Main in a process of its own: argv. Without argv there is none.
func Start(argv []string) (*Watchdog, error) {
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
	w := &Watchdog{in: in, gone: make(chan struct{})}
	go func() {
		_ = cmd.Wait()
		close(w.gone)
	}()
	return w, nil
}

// Tell names something that is to be ended, and by which of the Ends.
func (w *Watchdog) Tell(end, what string) { w.tell(message{Op: end, What: what}) }

// TellFile names a file, by its absolute path, that goes with the rest; or a directory, that goes if it is empty.
func (w *Watchdog) TellFile(path string) { w.tell(message{Op: opFile, What: path}) }

func (w *Watchdog) tell(m message) {
	if w == nil {
		return
	}
	b, err := json.Marshal(m)
	if err != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	_, _ = w.in.Write(append(b, '\n')) // a watchdog that died cannot be helped
}

// Dismiss ends the watchdog without letting it do anything.
func (w *Watchdog) Dismiss(ctx context.Context) error {
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
