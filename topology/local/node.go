package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/spockchaos/spockchaos/topology"
	"github.com/spockchaos/spockchaos/topology/local/clock"
	"github.com/spockchaos/spockchaos/topology/server"
	"github.com/spockchaos/spockchaos/topology/wait"
)

// startTimeout is how long a start may take, crash recovery included, where ctx gives no less.
const startTimeout = 60 * time.Second

var (
	// ErrLost is what Start says of a node that was lost.
	ErrLost = errors.New("the node's data is gone")
	// ErrPortTaken is what Start says when another program listens on the node's port.
	ErrPortTaken = errors.New("another program listens on its port")
)

// node is a topology.Node.
type node struct {
	cluster *Cluster
	name    string
	dir     string // server.log is here; the data below it
	data    string
	port    int
	dsn     string
	log     *zap.Logger
	offset  *clock.Offset // of its clock; nil where clocks cannot be skewed

	op    sync.Mutex // one Start, Stop, Pause, Resume, Lose, Save, Restore at a time
	known stamps     // the files of data as they were when they last were like the saved ones; under op

	mu   sync.Mutex
	lost bool
	main *postmaster // the last one started; nil before
}

// postmaster is a server process that we started.
type postmaster struct {
	pid  int
	gone chan struct{} // closed when it was reaped
	err  error         // its exit, after gone
}

func (n *node) Name() string  { return n.name }
func (n *node) DSN() string   { return n.dsn }
func (n *node) Means() string { return "signals to the server's processes" }

func (n *node) logPath() string { return filepath.Join(n.dir, "server.log") }

// DataDir of the node.
func (n *node) DataDir() string { return n.data }

// running is the postmaster, nil if there is none.
func (n *node) running() *postmaster {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.main == nil {
		return nil
	}
	select {
	case <-n.main.gone:
		return nil
	default:
		return n.main
	}
}

func (n *node) Start(ctx context.Context) error {
	n.op.Lock()
	defer n.op.Unlock()
	return n.wrap("starting", n.start(ctx))
}

func (n *node) wrap(doing string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s: %w", doing, n.name, err)
}

func (n *node) start(ctx context.Context) error {
	n.mu.Lock()
	lost := n.lost
	n.mu.Unlock()
	if lost {
		return ErrLost
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		main := n.running()
		from := n.logSize()
		if main == nil {
			var err error
			if main, err = n.spawn(); err != nil {
				return err
			}
		}
		err := n.await(ctx, main)
		if err == nil {
			n.cluster.changed()
			return nil
		}
		if !errors.Is(err, errExited) {
			return fmt.Errorf("%w; its log ends: %s", err, n.logSince(from))
		}
		said := n.logSince(from)
		switch {
		case strings.Contains(said, "Address already in use"):
			return fmt.Errorf("%w: %d", ErrPortTaken, n.port)
		case strings.Contains(said, "lock file") || strings.Contains(said, "pre-existing shared memory block"):
			// Somebody of the last server is still going; wait for him.
			if err := wait.For(ctx, 20*time.Millisecond); err != nil {
				return fmt.Errorf("%w; its log ends: %s", err, said)
			}
		default:
			return fmt.Errorf("%w (%v); its log ends: %s", errExited, main.err, said)
		}
	}
}

var errExited = errors.New("the server ended at once")

// spawn starts the postmaster as our child; a goroutine of the cluster reaps it.
func (n *node) spawn() (*postmaster, error) {
	log, err := os.OpenFile(n.logPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	// Not bound to a context: the server outlives the call.
	cmd := n.cluster.command(context.Background(), n.data, "postgres", "-D", n.data)
	cmd.Stdout, cmd.Stderr = log, log
	if n.offset != nil {
		cmd.Env = clock.Environ(cmd.Env, n.cluster.clockLib, n.offset.Path())
	}
	n.cluster.ports.Release(n.port)
	n.cluster.spawnMu.Lock()
	err = cmd.Start()
	n.cluster.spawnMu.Unlock()
	if err != nil {
		return nil, err
	}
	p := &postmaster{pid: cmd.Process.Pid, gone: make(chan struct{})}
	n.mu.Lock()
	n.main = p
	n.mu.Unlock()
	go n.reap(cmd, p)
	return p, nil
}

func (n *node) reap(cmd *exec.Cmd, p *postmaster) {
	p.err = cmd.Wait()
	n.log.Debug("server ended", zap.Int("pid", p.pid), zap.NamedError("exit", p.err))
	close(p.gone)
}

// await polls until the server answers a query.
func (n *node) await(ctx context.Context, p *postmaster) error {
	// A server that is gone answers no more: what holds the port then is a stranger.
	asking, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-p.gone:
			cancel()
		case <-stop:
		}
	}()
	wait := 5 * time.Millisecond
	var last error
	for {
		if last = server.Ping(asking, n.dsn); last == nil {
			return nil
		}
		t := time.NewTimer(wait)
		select {
		case <-p.gone:
			t.Stop()
			return errExited
		case <-ctx.Done():
			t.Stop()
			return fmt.Errorf("no answer: %w (last: %v)", ctx.Err(), last)
		case <-t.C:
		}
		wait = min(wait*3/2, 50*time.Millisecond)
	}
}

func (n *node) Stop(ctx context.Context, mode topology.StopMode) error {
	n.op.Lock()
	defer n.op.Unlock()
	return n.wrap("stopping", n.stop(ctx, mode))
}

func (n *node) stop(ctx context.Context, mode topology.StopMode) error {
	ctx, cancel := context.WithTimeout(ctx, topology.StopTimeout)
	defer cancel()
	if mode != topology.StopKill {
		p := n.running()
		if p != nil {
			if err := continueAll(ctx, n.data); err != nil { // a stopped process acts on no signal
				return err
			}
			sig := unix.SIGINT
			if mode == topology.StopImmediate {
				sig = unix.SIGQUIT
			}
			if err := unix.Kill(p.pid, sig); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("sending %s to process %d: %w", unix.SignalName(sig), p.pid, err)
			}
			select {
			case <-p.gone:
			case <-ctx.Done():
				return fmt.Errorf("process %d does not end after %s: %w; its log ends: %s",
					p.pid, unix.SignalName(sig), ctx.Err(), n.logSince(-2000))
			}
		}
		// Children end with the postmaster, but not in the same instant.
		for {
			left, err := serversIn(n.data)
			if err != nil || len(left) == 0 {
				return err
			}
			if p == nil {
				break // orphans of a postmaster that had died already: nobody else ends them
			}
			if err := wait.For(ctx, pollEvery); err != nil {
				return fmt.Errorf("%d processes outlive the server: %w", len(left), err)
			}
		}
	}
	if err := killServers(ctx, n.data); err != nil {
		return err
	}
	if p := n.running(); p != nil {
		select {
		case <-p.gone:
		case <-ctx.Done():
			return fmt.Errorf("process %d was killed and is not gone: %w", p.pid, ctx.Err())
		}
	}
	return nil
}

func (n *node) Pause(ctx context.Context) error {
	n.op.Lock()
	defer n.op.Unlock()
	if n.running() == nil {
		return n.wrap("pausing", errors.New("it is down"))
	}
	ctx, cancel := context.WithTimeout(ctx, topology.StopTimeout)
	defer cancel()
	return n.wrap("pausing", stopAll(ctx, n.data))
}

func (n *node) Resume(ctx context.Context) error {
	n.op.Lock()
	defer n.op.Unlock()
	ctx, cancel := context.WithTimeout(ctx, topology.StopTimeout)
	defer cancel()
	return n.wrap("resuming", continueAll(ctx, n.data))
}

func (n *node) Lose(ctx context.Context) error {
	n.op.Lock()
	defer n.op.Unlock()
	if err := n.stop(ctx, topology.StopKill); err != nil {
		return n.wrap("losing", err)
	}
	n.mu.Lock()
	n.lost = true
	n.mu.Unlock()
	dropSharedMemory(n.data)
	return n.wrap("losing", os.RemoveAll(n.data))
}

func (n *node) Processes() ([]int, error) {
	all, err := serversIn(n.data)
	if err != nil {
		return nil, n.wrap("listing the processes of", err)
	}
	order := parentsFirst(all)
	pids := make([]int, len(order))
	for i, p := range order {
		pids[i] = p.pid
	}
	if p := n.running(); p != nil {
		if i := slices.Index(pids, p.pid); i > 0 {
			pids[0], pids[i] = pids[i], pids[0]
		}
	}
	return pids, nil
}

func (n *node) Paused() (bool, error) {
	all, err := serversIn(n.data)
	if err != nil {
		return false, n.wrap("looking at the processes of", err)
	}
	for _, p := range all {
		if p.state != 'T' && p.state != 't' {
			return false, nil
		}
	}
	return len(all) > 0, nil
}

func (n *node) Log(max int) (string, error) {
	s, err := tail(n.logPath(), -int64(max))
	return s, n.wrap("reading the log of", err)
}

var _ topology.LogCopier = (*node)(nil)

// LogEnd is the size of the log: each start of the server goes on with the same file.
func (n *node) LogEnd(context.Context) (topology.LogPlace, error) {
	return topology.LogPlace(strconv.FormatInt(n.logSize(), 10)), nil
}

func (n *node) CopyLog(ctx context.Context, from topology.LogPlace, to io.Writer) error {
	offset, err := strconv.ParseInt(string(from), 10, 64)
	if err != nil {
		return n.wrap("reading the log of", err)
	}
	f, err := os.Open(n.logPath())
	if err != nil {
		return n.wrap("reading the log of", err)
	}
	defer func() { _ = f.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = f.Close() })
	defer stop()
	if _, err = f.Seek(offset, io.SeekStart); err == nil {
		_, err = io.Copy(to, f)
	}
	return n.wrap("reading the log of", err)
}

func (n *node) logSize() int64 {
	info, err := os.Stat(n.logPath())
	if err != nil {
		return 0
	}
	return info.Size()
}

// logSince is the log from an offset on, on one line and not too long.
func (n *node) logSince(from int64) string {
	s, err := tail(n.logPath(), from)
	if err != nil {
		return err.Error()
	}
	return lastLines([]byte(s), 6)
}

// tail reads a file from an offset on, or its last -from bytes.
func tail(path string, from int64) (string, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	if from < 0 {
		from = max(0, info.Size()+from)
	}
	b := make([]byte, max(0, info.Size()-from))
	k, err := f.ReadAt(b, from)
	if err != nil && k < len(b) {
		return "", err
	}
	return string(b[:k]), nil
}
