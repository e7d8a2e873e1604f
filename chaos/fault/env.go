package fault

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/topology"
	"github.com/spockchaos/spockchaos/topology/engine"
)

// Env is what faults act on. Every field but Links is required; NewExecutor makes
// Links from Cluster where it is nil.
type Env struct {
	Cluster topology.Cluster
	Engine  engine.Engine
	// Connect opens a connection to a node, past every link. The caller closes it.
	Connect func(ctx context.Context, node string) (*pgx.Conn, error)
	// Links are the cluster's links, shared by all faults that act at the same time.
	Links *Links
	Log   *zap.Logger
	Clock func() time.Time
	// Events is told what becomes of nodes; it may be called from several goroutines.
	Events func(rundir.NodeEvent)
	// BeforeLoss, if there is one, is awaited when the loss of a node has come due and before it is injected. It has a limit of its own. What it
	// says is part of the loss's proof.
	BeforeLoss func(ctx context.Context) string

	lost *lostNodes
	// since asks a server when its postmaster started.
	since func(ctx context.Context, c *pgx.Conn) (string, error)
	// now asks a server for the time.
	now func(ctx context.Context, c *pgx.Conn) (time.Time, error)
	// commit has a server commit a transaction: the timestamp that it gave it, and when it had answered.
	commit func(ctx context.Context, c *pgx.Conn) (at, answered time.Time, err error)
}

func postmasterStart(ctx context.Context, c *pgx.Conn) (string, error) {
	var at string
	err := c.QueryRow(ctx, "SELECT to_char(pg_postmaster_start_time(), 'HH24:MI:SS.MS')").Scan(&at)
	return at, err
}

func serverClock(ctx context.Context, c *pgx.Conn) (time.Time, error) {
	var at time.Time
	err := c.QueryRow(ctx, "SELECT clock_timestamp()").Scan(&at)
	return at, err
}

func (e Env) commitTimestamp(ctx context.Context, c *pgx.Conn) (at, answered time.Time, err error) {
	var xid string
	if err := c.QueryRow(ctx, "SELECT pg_current_xact_id()::text").Scan(&xid); err != nil {
		return at, answered, err
	}
	answered = e.Clock().Round(0)
	err = c.QueryRow(ctx, "SELECT pg_xact_commit_timestamp($1::text::xid8::xid)", xid).Scan(&at)
	return at, answered, err
}

// lostNodes remembers which nodes were lost for good.
type lostNodes struct {
	mu    sync.Mutex
	names map[string]bool
}

func (l *lostNodes) add(node string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.names[node] = true
}

func (l *lostNodes) has(node string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.names[node]
}

func (e Env) withDefaults() Env {
	if e.Links == nil {
		e.Links = NewLinks(ClusterLinks(e.Cluster))
	}
	if e.lost == nil {
		e.lost = &lostNodes{names: map[string]bool{}}
	}
	if e.since == nil {
		e.since = postmasterStart
	}
	if e.now == nil {
		e.now = serverClock
	}
	if e.commit == nil {
		e.commit = e.commitTimestamp
	}
	return e
}

func (e Env) world() World {
	var w World
	for _, n := range e.Cluster.Nodes() {
		w.Nodes = append(w.Nodes, n.Name())
	}
	return w
}

func (e Env) event(node string, kind rundir.EventKind) {
	e.Events(rundir.NodeEvent{At: e.Clock(), Node: node, Kind: kind})
}

func (e Env) node(name string) (topology.Node, error) {
	n := e.Cluster.Node(name)
	if n == nil {
		return nil, fmt.Errorf("no node %q in the cluster", name)
	}
	return n, nil
}

// outOfService says why a node cannot answer at all, "" if its processes run.
func (e Env) outOfService(name string) string {
	n := e.Cluster.Node(name)
	if n == nil {
		return "no node " + name
	}
	if e.lost.has(name) {
		return name + " is lost"
	}
	if pids, err := n.Processes(); err == nil && len(pids) == 0 {
		return name + " is down"
	}
	if paused, err := n.Paused(); err == nil && paused {
		return name + " is paused"
	}
	return ""
}

// connect opens a connection to a node for a fault. If the node is out of service
// the error is a *NotApplicable.
func (e Env) connect(ctx context.Context, name string) (*pgx.Conn, error) {
	if why := e.outOfService(name); why != "" {
		return nil, notApplicable("%s", why)
	}
	c, err := e.Connect(ctx, name)
	if err != nil {
		if why := e.outOfService(name); why != "" {
			return nil, notApplicable("%s", why)
		}
		return nil, fmt.Errorf("connect to %s: %w", name, err)
	}
	return c, nil
}

// answers says whether a node lets somebody in, straight, while silence lasts.
func (e Env) answers(ctx context.Context, name string) bool {
	ctx, cancel := context.WithTimeout(ctx, silence)
	defer cancel()
	c, err := e.Connect(ctx, name)
	if err != nil {
		return false
	}
	engine.HangUp(c)
	return true
}

// with runs do on a connection of its own.
func (e Env) with(ctx context.Context, name string, do func(*pgx.Conn) error) error {
	c, err := e.connect(ctx, name)
	if err != nil {
		return err
	}
	defer engine.HangUp(c)
	return do(c)
}
