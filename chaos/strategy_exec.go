package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/spockchaos/spockchaos/topology"
)

// execGrace is how long a runbook may take to end once it was asked to (SIGTERM).
const execGrace = 5 * time.Second

// execStrategy is a runbook of the user's: a command that a shell runs.
type execStrategy struct{ command string }

// Task is what a runbook is told, as JSON on its standard input; each member is in its environment as well.
type Task struct {
	Failed         string `json:"failed"`          // SPOCKCHAOS_FAILED
	Source         string `json:"source"`          // SPOCKCHAOS_SOURCE
	Target         string `json:"target"`          // SPOCKCHAOS_TARGET
	Coordinator    string `json:"coordinator"`     // SPOCKCHAOS_COORDINATOR
	SourceDSN      string `json:"source_dsn"`      // SPOCKCHAOS_SOURCE_DSN: straight to the server, as are the two below
	TargetDSN      string `json:"target_dsn"`      // SPOCKCHAOS_TARGET_DSN
	CoordinatorDSN string `json:"coordinator_dsn"` // SPOCKCHAOS_COORDINATOR_DSN
	// As the servers reach each other, through links that may be broken.
	TargetToSourceDSN      string `json:"target_to_source_dsn"`      // SPOCKCHAOS_TARGET_TO_SOURCE_DSN
	CoordinatorToTargetDSN string `json:"coordinator_to_target_dsn"` // SPOCKCHAOS_COORDINATOR_TO_TARGET_DSN
}

func newTask(cluster topology.Cluster, r Recovery) Task {
	return Task{
		Failed: r.Failed, Source: r.Source, Target: r.Target, Coordinator: r.Coordinator,
		SourceDSN: cluster.Node(r.Source).DSN(), TargetDSN: cluster.Node(r.Target).DSN(), CoordinatorDSN: cluster.Node(r.Coordinator).DSN(),
		TargetToSourceDSN: cluster.LinkDSN(r.Target, r.Source), CoordinatorToTargetDSN: coordinatorToTarget(cluster, r),
	}
}

// environment is the task as variables: SPOCKCHAOS_ and the name of each member.
func (t Task) environment() ([]string, []byte, error) {
	text, err := json.Marshal(t)
	if err != nil {
		return nil, nil, err
	}
	var members map[string]string
	if err := json.Unmarshal(text, &members); err != nil {
		return nil, nil, err
	}
	var env []string
	for name, value := range members {
		env = append(env, "SPOCKCHAOS_"+strings.ToUpper(name)+"="+value)
	}
	return env, append(text, '\n'), nil
}

// Rescue runs the command in a process group of its own. When ctx is done the whole group is asked to end, and killed after
// execGrace.
func (s execStrategy) Rescue(ctx context.Context, cluster topology.Cluster, r Recovery, notice func(string)) error {
	env, input, err := newTask(cluster, r).environment()
	if err != nil {
		return fmt.Errorf("tell the runbook its task: %w", err)
	}
	return s.run(ctx, env, input, notice)
}

func (s execStrategy) run(ctx context.Context, env []string, input []byte, notice func(string)) error {
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", s.command)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdin = bytes.NewReader(input)
	out := &lineWriter{say: notice}
	cmd.Stdout, cmd.Stderr = out, out // one writer for both: exec uses one pipe then, so lines keep their order
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	signal := func(sig syscall.Signal) error {
		err := syscall.Kill(-cmd.Process.Pid, sig)
		if errors.Is(err, syscall.ESRCH) {
			return os.ErrProcessDone
		}
		return err
	}
	cmd.Cancel = func() error { return signal(syscall.SIGTERM) }
	cmd.WaitDelay = execGrace
	err := cmd.Run()
	out.flush()
	if cmd.Process != nil { // whatever the command left behind would go on changing the cluster
		if left := signal(syscall.SIGKILL); left == nil {
			notice("processes that the runbook had left running were killed")
		}
	}
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("the runbook was ended: %w", context.Cause(ctx))
	case errors.As(err, &exit):
		return &ExitError{Status: exit.ExitCode(), Said: out.last}
	}
	return fmt.Errorf("run the runbook: %w", err)
}

// ExitError is a runbook that failed.
type ExitError struct {
	Status int    // -1: a signal ended it
	Said   string // its last line
}

func (e *ExitError) Error() string {
	text := fmt.Sprintf("the runbook ended with exit status %d", e.Status)
	if e.Said != "" {
		text += ": " + e.Said
	}
	return text
}

// lineWriter says what is written to it line by line. One goroutine of exec.Cmd writes.
type lineWriter struct {
	say  func(string)
	rest []byte
	last string
}

// maxLine bounds a line; what is longer is cut into pieces.
const maxLine = 4096

func (w *lineWriter) Write(p []byte) (int, error) {
	w.rest = append(w.rest, p...)
	for {
		i := bytes.IndexByte(w.rest, '\n')
		switch {
		case i >= 0:
			w.line(w.rest[:i])
			w.rest = w.rest[i+1:]
		case len(w.rest) > maxLine:
			w.line(w.rest[:maxLine])
			w.rest = w.rest[maxLine:]
		default:
			return len(p), nil
		}
	}
}

func (w *lineWriter) line(b []byte) {
	text := strings.ToValidUTF8(strings.TrimRight(string(b), "\r "), "\uFFFD")
	if text != "" {
		w.last = text
	}
	w.say(text)
}

func (w *lineWriter) flush() {
	if len(w.rest) > 0 {
		w.line(w.rest)
		w.rest = nil
	}
}
