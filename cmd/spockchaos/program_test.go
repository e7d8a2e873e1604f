package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/topology/clusterfile"
)

// startLimit bounds what the program needs to come to a point or to its end by itself, on a machine
// that does much else at the same time.
const startLimit = 3 * time.Minute

// invocation is one start of the program. The data of its servers is below tmp, which nobody else
// uses: so what it left running is found whatever became of the program.
type invocation struct {
	t      *testing.T
	cmd    *exec.Cmd
	tmp    string
	out    output
	ended  chan struct{}
	status int // once ended is closed; -1 when a signal ended it
}

// output collects what both streams get, while it is read.
type output struct {
	mu             sync.Mutex
	stdout, stderr bytes.Buffer
}

func (o *output) both() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.stdout.String() + o.stderr.String()
}

type stream struct {
	o   *output
	buf *bytes.Buffer
}

func (s stream) Write(p []byte) (int, error) {
	s.o.mu.Lock()
	defer s.o.mu.Unlock()
	return s.buf.Write(p)
}

// start starts the program. It and all that it started is gone after the test, or the test fails.
func start(t *testing.T, args ...string) *invocation {
	t.Helper()
	return startProgram(t, program, args...)
}

// startProgram is start by way of another program, which becomes ours.
func startProgram(t *testing.T, name string, args ...string) *invocation {
	t.Helper()
	// A directory that the servers' account can reach; those of t.TempDir are closed to it.
	tmp, err := os.MkdirTemp("", "spockchaos-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	if tmp, err = filepath.EvalSymlinks(tmp); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(tmp, 0o755); err != nil {
		t.Fatal(err)
	}
	p := &invocation{t: t, tmp: tmp, ended: make(chan struct{})}
	p.cmd = exec.Command(name, args...)
	p.cmd.Dir = t.TempDir()
	for _, kv := range os.Environ() {
		// Settings of whoever runs the tests are not for these runs.
		if !strings.HasPrefix(kv, "SPOCKCHAOS_") && !strings.HasPrefix(kv, "TMPDIR=") {
			p.cmd.Env = append(p.cmd.Env, kv)
		}
	}
	p.cmd.Env = append(p.cmd.Env, "TMPDIR="+tmp)
	p.cmd.Stdout, p.cmd.Stderr = stream{&p.out, &p.out.stdout}, stream{&p.out, &p.out.stderr}
	// As a shell starts it: a signal for the test's own group is not for it.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait() // ProcessState has it
		p.status = p.cmd.ProcessState.ExitCode()
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // no error is needed: most have ended
		<-p.ended
		p.gone(30 * time.Second)
		if t.Failed() {
			t.Logf("%s said:\n%s", strings.Join(args, " "), p.out.both())
		}
		if err := os.RemoveAll(tmp); err != nil {
			t.Error(err)
		}
	})
	return p
}

// runArgs is a short, light run into dir.
func runArgs(dir string, more ...string) []string {
	args := []string{"run", "--chaos", "4s", "--duration", "1s", "--rate", "200", "--seed", "5", "--report-dir", dir}
	if bin := os.Getenv("SPOCKCHAOS_TEST_PG_BIN"); bin != "" {
		args = append(args, "--pg-bin", bin)
	}
	return append(args, more...)
}

// wait for the end of the program, and its exit status.
func (p *invocation) wait(limit time.Duration) int {
	p.t.Helper()
	select {
	case <-p.ended:
		return p.status
	case <-time.After(limit):
		p.t.Fatalf("the program has not ended %s later", limit)
		return 0
	}
}

// until polls, for as long as the program runs, until done.
func (p *invocation) until(what string, done func() bool) {
	p.t.Helper()
	deadline := time.After(startLimit)
	for !done() {
		select {
		case <-p.ended:
			p.t.Fatalf("the program ended (status %d) before %s", p.status, what)
		case <-deadline:
			p.t.Fatalf("%s later still not: %s", startLimit, what)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// untilChaos waits until a fault of the first round was injected.
func (p *invocation) untilChaos(dir string) {
	p.t.Helper()
	p.until("the first fault", func() bool { return strings.Contains(p.out.both(), "fault injected") })
	var r rundir.Round
	if err := rundir.ReadJSON(filepath.Join(rundir.RoundDir(dir, 1), rundir.RoundFile), &r); err != nil {
		p.t.Fatal(err)
	}
	if n := len(r.Phases); n == 0 || r.Phases[n-1].Name != rundir.PhaseChaos {
		p.t.Fatalf("phases %v, want chaos to be on", r.Phases)
	}
}

// cluster reads cluster.json of the run.
func (p *invocation) cluster(dir string) clusterfile.File {
	p.t.Helper()
	f, err := clusterfile.Read(dir)
	if err != nil {
		p.t.Fatal(err)
	}
	if !strings.HasPrefix(f.Root, p.tmp+"/") {
		p.t.Fatalf("the cluster is in %s, want it below %s", f.Root, p.tmp)
	}
	return f
}

func (p *invocation) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// gone waits until no process of the run is left and nothing is below its directory for data.
func (p *invocation) gone(limit time.Duration) {
	p.t.Helper()
	deadline := time.Now().Add(limit)
	for {
		left := p.left()
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			p.t.Errorf("%s after the end there is still: %s", limit, strings.Join(left, ", "))
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// left are the processes that work below tmp or were given it, and the files in it.
func (p *invocation) left() []string {
	var left []string
	entries, err := os.ReadDir(p.tmp)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, e := range entries {
		left = append(left, filepath.Join(p.tmp, e.Name()))
	}
	procs, err := os.ReadDir("/proc")
	if err != nil {
		p.t.Fatal(err)
	}
	for _, e := range procs {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		dir := filepath.Join("/proc", e.Name())
		cwd, _ := os.Readlink(filepath.Join(dir, "cwd")) // these fail for a process that has just ended
		cmdline, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		environ, _ := os.ReadFile(filepath.Join(dir, "environ"))
		if strings.HasPrefix(cwd, p.tmp) || bytes.Contains(cmdline, []byte(p.tmp)) || bytes.Contains(environ, []byte("TMPDIR="+p.tmp)) {
			left = append(left, fmt.Sprintf("process %d (%s)", pid, strings.ReplaceAll(strings.TrimRight(string(cmdline), "\x00"), "\x00", " ")))
		}
	}
	return left
}

// result is what a command that needs no cluster did.
type result struct {
	status         int
	stdout, stderr string
}

// run runs the program to its end.
func run(t *testing.T, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = t.TempDir()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// refused asserts exit status 2 and one line on stderr that says every want.
func refused(t *testing.T, status int, stderr string, want ...string) {
	t.Helper()
	if status != 2 {
		t.Errorf("exit status %d, want 2", status)
	}
	line := complaint(stderr)
	if strings.Count(line, "\n") != 1 {
		t.Errorf("stderr says %q, want one line", line)
	}
	for _, w := range want {
		if !strings.Contains(line, w) {
			t.Errorf("stderr says %q, want it to name %q", line, w)
		}
	}
}

// complaint is what stderr says but for the log.
func complaint(stderr string) string {
	var b strings.Builder
	for line := range strings.Lines(stderr) {
		if !strings.HasPrefix(line, "{") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// absent asserts that there is nothing at path.
func absent(t *testing.T, path string) {
	t.Helper()
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		var all []string
		_ = filepath.WalkDir(path, func(p string, _ fs.DirEntry, _ error) error { all = append(all, p); return nil })
		t.Errorf("%s is there (%v), want nothing left: %v", path, err, all)
	}
}
