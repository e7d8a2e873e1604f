package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/spockchaos/spockchaos/topology"
	"github.com/spockchaos/spockchaos/topology/server"
	"github.com/spockchaos/spockchaos/topology/wait"
)

// startTimeout is how long a start may take, crash recovery included, where ctx gives no less.
const startTimeout = 60 * time.Second

// askTimeout bounds questions to the engine that come without a context.
const askTimeout = 10 * time.Second

// shm is for the server's dynamic shared memory.
const shm = 256 << 20

// lastLog is how much of its log a node that was lost keeps, in bytes.
const lastLog = 64 << 10

// ErrLost is what Start says of a node that was lost.
var ErrLost = errors.New("the node's data is gone")

// node is a topology.Node.
type node struct {
	cluster  *Cluster
	name     string
	parts    parts
	port     int // of the server, in the container as outside: so dsn is right in both, unless the node is lent
	dsn      string
	own      string // the conninfo by which the server reaches itself
	lent     *LentNode
	walStart string
	subnet   subnet
	log      *zap.Logger

	op sync.Mutex // one change at a time

	mu      sync.Mutex
	lost    bool
	ended   string // the end of the log of the container that was lost
	limited limited
}

func (n *node) Name() string  { return n.name }
func (n *node) DSN() string   { return n.dsn }
func (n *node) Means() string { return "docker kill" }

// OwnDSN is topology.OwnDSN's.
func (n *node) OwnDSN() string { return n.own }

// parts are the names of what a node is made of, and where its data lie in its disk container.
type parts struct {
	container, network, volume string
	disk                       string
	data                       string
}

func (n *node) container() string { return n.parts.container }
func (n *node) network() string   { return n.parts.network }
func (n *node) volume() string    { return n.parts.volume }
func (n *node) disk() string      { return n.parts.disk }
func (n *node) dropper() string   { return n.cluster.run.name(n.name + "-drop") }

func (n *node) api() API { return n.cluster.api }

func (n *node) wrap(doing string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s: %w", doing, n.name, err)
}

func (n *node) isLost() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.lost
}

// make makes the node; its server is up afterwards. The first node closes made when its data are there to be copied.
func (n *node) make(ctx context.Context, first bool, made chan struct{}) error {
	if err := n.makeDisk(ctx); err != nil {
		return err
	}
	if err := n.makeContainer(ctx); err != nil {
		return err
	}
	n.cluster.ports.Release(n.port)
	if first {
		if err := n.makeData(ctx); err != nil {
			return err
		}
		close(made)
	} else {
		select {
		case <-made:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := n.copyData(ctx); err != nil {
			return err
		}
	}
	if err := n.moveWAL(ctx); err != nil {
		return err
	}
	return n.start(ctx)
}

// makeData lets the image make the data of the cluster, and puts them where the other nodes find them.
func (n *node) makeData(ctx context.Context) error {
	if err := n.start(ctx); err != nil {
		return err
	}
	if err := n.stop(ctx, topology.StopFast); err != nil {
		return err
	}
	return n.prepareData(ctx)
}

// makeContainer makes the container of the server, and does not start it.
func (n *node) makeContainer(ctx context.Context) error {
	o := &n.cluster.opts
	if n.lent != nil {
		ctx, cancel := steady(ctx)
		defer cancel()
		if err := n.api().Recreate(ctx, n.lent.Shape); err != nil {
			return fmt.Errorf("making its container again: %w", err)
		}
		return nil
	}
	settings := server.Settings(o.Nodes, o.Server.VersionNum, o.Server.pluginList, o.Engine)
	settings["listen_addresses"] = "*"
	maps.Copy(settings, o.Settings)
	args := []string{"postgres"}
	for _, k := range slices.Sorted(maps.Keys(settings)) {
		args = append(args, "-c", k+"="+settings[k])
	}
	ctx, cancel := steady(ctx)
	defer cancel()
	_, err := n.api().CreateContainer(ctx, ContainerSpec{
		Name: n.container(), Image: o.Server.Ref, Labels: n.cluster.run.labels, Args: args,
		Env: []string{
			"POSTGRES_USER=" + server.Superuser, "POSTGRES_PASSWORD=" + n.cluster.password, "POSTGRES_DB=" + server.Database,
			"POSTGRES_INITDB_ARGS=--no-sync --locale=C --encoding=UTF8", "PGDATA=" + dataDir, "PGPORT=" + strconv.Itoa(n.port), "TZ=UTC",
			// When memory gets short, a backend goes before the postmaster.
			"PG_OOM_ADJUST_FILE=/proc/self/oom_score_adj", "PG_OOM_ADJUST_VALUE=900",
		},
		Network: n.network(), Addr: n.subnet.node.String(), Ports: []int{n.port},
		Volumes: map[string]string{n.volume(): diskDir}, Shm: shm,
		Hosts: map[string]string{linksHost: n.subnet.links.String()},
	})
	if err != nil {
		return fmt.Errorf("making its container: %w", err)
	}
	return nil
}

func (n *node) Start(ctx context.Context) error {
	n.op.Lock()
	defer n.op.Unlock()
	if err := n.start(ctx); err != nil {
		return n.wrap("starting", err)
	}
	n.cluster.changed()
	return nil
}

func (n *node) start(ctx context.Context) error {
	if n.isLost() {
		return ErrLost
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := n.api().StartContainer(ctx, n.container()); err != nil {
		return err
	}
	if err := n.await(ctx); err != nil {
		return fmt.Errorf("%w; its log ends: %s", err, n.lastWords(ctx))
	}
	return nil
}

// await polls until the server answers a query, or its container has ended.
func (n *node) await(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		status, err := n.api().Wait(ctx, n.container())
		if err == nil {
			err = fmt.Errorf("the server ended at once, with status %d", status)
		}
		ended <- err
		cancel()
	}()
	pause := 5 * time.Millisecond
	for {
		err := server.Ping(ctx, n.dsn)
		if err == nil {
			cancel()
			<-ended
			return nil
		}
		if wait.For(ctx, pause) != nil {
			cancel()
			if why := <-ended; !errors.Is(why, context.Canceled) && !errors.Is(why, context.DeadlineExceeded) {
				return why
			}
			return fmt.Errorf("no answer: %w", err)
		}
		pause = min(pause*3/2, 50*time.Millisecond)
	}
}

// lastWords is the end of the log on one line.
func (n *node) lastWords(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
	defer cancel()
	text, err := n.api().Log(ctx, n.container(), 6)
	if err != nil {
		return err.Error()
	}
	return oneLine(text)
}

func oneLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return strings.Join(lines, " | ")
}

func (n *node) Stop(ctx context.Context, mode topology.StopMode) error {
	n.op.Lock()
	defer n.op.Unlock()
	return n.wrap("stopping", n.stop(ctx, mode))
}

// stop signals process 1; with it all others of the container end. Whoever drops packets in
// the container's network goes with it.
func (n *node) stop(ctx context.Context, mode topology.StopMode) error {
	ctx, cancel := context.WithTimeout(ctx, topology.StopTimeout)
	defer cancel()
	state, err := n.state(ctx)
	if err != nil || !state.Running {
		return err
	}
	signal := map[topology.StopMode]string{topology.StopFast: "SIGINT", topology.StopImmediate: "SIGQUIT", topology.StopKill: "SIGKILL"}[mode]
	if mode != topology.StopKill && state.Paused { // a frozen process acts on no other signal
		if err := n.api().Unpause(ctx, n.container()); err != nil {
			return err
		}
	}
	if err := n.api().Signal(ctx, n.container(), signal); err != nil {
		if state, again := n.state(ctx); again != nil || state.Running {
			return fmt.Errorf("sending %s: %w", signal, err)
		} // else it ended by itself in between
	}
	if _, err := n.api().Wait(ctx, n.container()); err != nil {
		return fmt.Errorf("it does not end after %s: %w; its log ends: %s", signal, err, n.lastWords(ctx))
	}
	return n.removeDropper(ctx)
}

// state of the container; one that is not there does not run.
func (n *node) state(ctx context.Context) (Container, error) {
	state, err := n.api().Container(ctx, n.container())
	if errors.Is(err, ErrNotFound) {
		return Container{}, nil
	}
	return state, err
}

func (n *node) Pause(ctx context.Context) error {
	n.op.Lock()
	defer n.op.Unlock()
	ctx, cancel := context.WithTimeout(ctx, topology.StopTimeout)
	defer cancel()
	state, err := n.state(ctx)
	switch {
	case err != nil:
	case !state.Running:
		err = errors.New("it is down")
	case !state.Paused:
		err = n.api().Pause(ctx, n.container())
	}
	return n.wrap("pausing", err)
}

func (n *node) Resume(ctx context.Context) error {
	n.op.Lock()
	defer n.op.Unlock()
	ctx, cancel := context.WithTimeout(ctx, topology.StopTimeout)
	defer cancel()
	state, err := n.state(ctx)
	if err == nil && state.Paused {
		err = n.api().Unpause(ctx, n.container())
	}
	return n.wrap("resuming", err)
}

func (n *node) Lose(ctx context.Context) error {
	n.op.Lock()
	defer n.op.Unlock()
	return n.wrap("losing", n.lose(ctx))
}

// lose removes containers and volume; the network stays, the links are in it.
func (n *node) lose(ctx context.Context) error {
	if err := n.stop(ctx, topology.StopKill); err != nil {
		return err
	}
	text, err := n.Log(lastLog)
	n.mu.Lock()
	n.lost = true
	if err == nil && text != "" {
		n.ended = text
	}
	n.mu.Unlock()
	ctx, cancel := steady(ctx)
	defer cancel()
	for _, container := range []string{n.container(), n.disk()} {
		if err := n.api().RemoveContainer(ctx, container); err != nil {
			return err
		}
	}
	return n.api().RemoveVolume(ctx, n.volume())
}

func (n *node) Processes() ([]int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	state, err := n.state(ctx)
	if err != nil || !state.Running {
		return nil, n.wrap("looking at", err)
	}
	pids, err := n.api().Processes(ctx, n.container())
	if err != nil {
		if state, again := n.state(ctx); again == nil && !state.Running {
			return nil, nil // it ended in between
		}
		return nil, n.wrap("listing the processes of", err)
	}
	if i := slices.Index(pids, state.PID); i > 0 {
		pids[0], pids[i] = pids[i], pids[0]
	}
	return pids, nil
}

func (n *node) Paused() (bool, error) {
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	state, err := n.state(ctx)
	return state.Paused, n.wrap("looking at", err)
}

func (n *node) Log(limit int) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	const shortLine = 32 // bytes; few lines of the log are shorter
	text, err := n.api().Log(ctx, n.container(), limit/shortLine+1)
	if errors.Is(err, ErrNotFound) {
		n.mu.Lock()
		text, err = n.ended, nil
		n.mu.Unlock()
	}
	return text[max(0, len(text)-limit):], n.wrap("reading the log of", err)
}

var _ topology.LogCopier = (*node)(nil)

// LogEnd is now, by the clock of the engine's machine, which is this one: ports are published here.
func (n *node) LogEnd(context.Context) (topology.LogPlace, error) {
	return topology.LogPlace(n.cluster.opts.Clock().UTC().Format(time.RFC3339Nano)), nil
}

// CopyLog reads the server's standard error: the engine keeps it as long as the container, over stops and starts.
func (n *node) CopyLog(ctx context.Context, from topology.LogPlace, to io.Writer) error {
	since, err := time.Parse(time.RFC3339Nano, string(from))
	if err == nil {
		err = n.api().CopyErrors(ctx, n.container(), since, to)
	}
	return n.wrap("reading the log of", err)
}
