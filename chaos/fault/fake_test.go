package fault

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/topology"
	"github.com/spockchaos/spockchaos/topology/link"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeLink is a listener that answers requests as a PostgreSQL server behind a link would, and
// obeys its gates' stall and latency.
type fakeLink struct {
	name  string
	ln    net.Listener
	leaky bool // it passes bytes in spite of a stall: a gate that does not work

	mu       sync.Mutex
	gates    [2]link.Gate
	changed  chan struct{}
	fail     error
	failLate bool
	stats    link.Stats
	conns    map[net.Conn]bool
	wg       sync.WaitGroup
}

func newFakeLink(t *testing.T, name string) *fakeLink {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &fakeLink{name: name, ln: ln, changed: make(chan struct{}), conns: map[net.Conn]bool{}}
	l.wg.Go(l.accept)
	t.Cleanup(func() {
		ln.Close()
		if _, err := l.Reset(context.Background()); err != nil {
			t.Error(err)
		}
		l.wg.Wait()
	})
	return l
}

func (l *fakeLink) accept() {
	for {
		c, err := l.ln.Accept()
		if err != nil {
			return
		}
		l.mu.Lock()
		l.conns[c] = true
		l.mu.Unlock()
		l.wg.Go(func() { l.serve(c) })
	}
}

func (l *fakeLink) serve(c net.Conn) {
	defer func() {
		c.Close()
		l.mu.Lock()
		delete(l.conns, c)
		l.mu.Unlock()
	}()
	request := make([]byte, len(sslRequest))
	for {
		if _, err := c.Read(request); err != nil {
			return
		}
		if !l.pass(c, link.Upstream, int64(len(request))) || !l.pass(c, link.Downstream, 1) {
			return
		}
		if _, err := c.Write([]byte("N")); err != nil {
			return
		}
	}
}

// pass delays and holds bytes as the gate says; false if the connection was reset meanwhile.
func (l *fakeLink) pass(c net.Conn, d link.Direction, n int64) bool {
	l.mu.Lock()
	delay := time.After(l.stats.Delay + l.gates[d].Latency)
	changed := l.changed
	l.mu.Unlock()
	select {
	case <-delay:
	case <-changed: // the link was reset or set anew: nothing is waited for
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hold(d, n)
	for l.gates[d].Stall && !l.leaky && l.conns[c] {
		ch := l.changed
		l.mu.Unlock()
		<-ch
		l.mu.Lock()
	}
	l.hold(d, -n)
	if d == link.Upstream {
		l.stats.UpBytes += n
	} else {
		l.stats.DownBytes += n
	}
	return l.conns[c]
}

func (l *fakeLink) hold(d link.Direction, n int64) {
	if d == link.Upstream {
		l.stats.HeldUp += n
	} else {
		l.stats.HeldDown += n
	}
}

func (l *fakeLink) Name() string { return l.name }
func (l *fakeLink) Addr() string { return l.ln.Addr().String() }

func (l *fakeLink) From() string {
	from, _, _ := strings.Cut(l.name, ">")
	return from
}

func (l *fakeLink) To() string {
	_, to, _ := strings.Cut(l.name, ">")
	return to
}

func (l *fakeLink) Set(d link.Direction, g link.Gate) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gates[d] = g
	l.wake()
}

// Update calls f once more than it must, as it may.
func (l *fakeLink) Update(_ context.Context, d link.Direction, f func(link.Gate) link.Gate) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(l.gates[d])
	gate := f(l.gates[d])
	if l.fail == nil || l.failLate {
		l.gates[d] = gate
		l.wake()
	}
	return l.fail
}

// breakDown makes every change of the gates fail from now on: late, when it was made all the same. nil ends it.
func (l *fakeLink) breakDown(err error, late bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fail, l.failLate = err, late
}

func (l *fakeLink) Refuse(context.Context, bool) error { panic("no fault refuses") }
func (l *fakeLink) Hold(context.Context, bool) error   { panic("no fault holds a link") }
func (l *fakeLink) Heal(context.Context) error         { panic("a fault heals its share alone") }

func (l *fakeLink) wake() {
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *fakeLink) Get(d link.Direction) link.Gate {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.gates[d]
}

func (l *fakeLink) Reset(context.Context) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(l.conns)
	for c := range l.conns {
		c.Close()
		delete(l.conns, c)
	}
	l.wake()
	return n, nil
}

func (l *fakeLink) Stats(context.Context) (link.Stats, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stats, nil
}

// fakeNode is a node whose state is what it was told.
type fakeNode struct {
	name string

	mu       sync.Mutex
	pids     []int
	paused   bool
	startErr []error // of the next starts
	hangs    bool    // a clean stop does not finish
	starts   int
	offset   time.Duration // of its clock
	stuck    bool          // its clock stays as it is, whatever it is told
}

func (n *fakeNode) Name() string  { return n.name }
func (n *fakeNode) DSN() string   { return "" }
func (n *fakeNode) Means() string { return "SIGKILL" }

func (n *fakeNode) Start(context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.starts++
	if len(n.startErr) > 0 {
		err := n.startErr[0]
		n.startErr = n.startErr[1:]
		if err != nil {
			return err
		}
	}
	n.pids = []int{10, 11, 12}
	return nil
}

func (n *fakeNode) Stop(ctx context.Context, mode topology.StopMode) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if mode == topology.StopFast && n.hangs {
		n.mu.Unlock()
		<-ctx.Done()
		n.mu.Lock()
		return ctx.Err()
	}
	n.pids = nil
	return nil
}

func (n *fakeNode) Pause(context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.paused = true
	return nil
}

func (n *fakeNode) Resume(context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.paused = false
	return nil
}

func (n *fakeNode) Lose(context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.pids, n.paused = nil, false
	n.startErr = []error{errors.New("its data is gone")}
	return nil
}

func (n *fakeNode) SkewClock(_ context.Context, offset time.Duration) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.stuck {
		n.offset = offset
	}
	return nil
}

// clock is what the node's clock says.
func (n *fakeNode) clock() time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	return time.Now().Add(n.offset)
}

func (n *fakeNode) Processes() ([]int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.pids, nil
}

func (n *fakeNode) Paused() (bool, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.paused, nil
}

func (n *fakeNode) Log(int) (string, error) { return "LOG: the end of the log", nil }

// fakeCluster is three nodes and every link between them.
type fakeCluster struct {
	topology.Cluster // what no test calls
	nodes            []*fakeNode
	links            map[string]*fakeLink
	dialled          func() // called when a link's conninfo is asked for; may be nil
}

func (c *fakeCluster) Nodes() []topology.Node {
	var ns []topology.Node
	for _, n := range c.nodes {
		ns = append(ns, n)
	}
	return ns
}

func (c *fakeCluster) Node(name string) topology.Node {
	for _, n := range c.nodes {
		if n.name == name {
			return n
		}
	}
	return nil
}

func (c *fakeCluster) LinkDSN(string, string) string {
	if c.dialled != nil {
		c.dialled()
	}
	return "host=127.0.0.1 port=1 connect_timeout=1"
}

func (c *fakeCluster) node(name string) *fakeNode { return c.Node(name).(*fakeNode) }

// fakes are an environment without servers.
type fakes struct {
	env     Env
	cluster *fakeCluster

	mu      sync.Mutex
	events  []rundir.NodeEvent
	records []rundir.Fault
}

func newFakes(t *testing.T) *fakes {
	t.Helper()
	f := &fakes{cluster: &fakeCluster{links: map[string]*fakeLink{}}}
	names := []string{"n1", "n2", "n3"}
	for _, n := range names {
		f.cluster.nodes = append(f.cluster.nodes, &fakeNode{name: n, pids: []int{1, 2, 3}})
		for _, from := range append([]string{topology.Client}, names...) {
			if from != n {
				name := LinkName(from, n)
				f.cluster.links[name] = newFakeLink(t, name)
			}
		}
	}
	f.env = Env{
		Cluster: f.cluster,
		Log:     zap.NewNop(),
		Clock:   time.Now,
		Connect: func(_ context.Context, node string) (*pgx.Conn, error) {
			n := f.cluster.node(node)
			if pids, _ := n.Processes(); len(pids) == 0 {
				return nil, errors.New("connection refused")
			}
			if paused, _ := n.Paused(); paused {
				return nil, errors.New("timeout")
			}
			return nil, nil
		},
		Links: NewLinks(func(name string) (topology.Link, bool) {
			l, ok := f.cluster.links[name]
			return l, ok
		}),
		Events: func(e rundir.NodeEvent) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.events = append(f.events, e)
		},
		since: func(context.Context, *pgx.Conn) (string, error) { return "12:00:00.000", nil },
		// Connections do not tell whose they are: the tests of clocks are about n2.
		now: func(context.Context, *pgx.Conn) (time.Time, error) { return f.cluster.node("n2").clock(), nil },
		commit: func(context.Context, *pgx.Conn) (at, answered time.Time, err error) {
			return f.cluster.node("n2").clock(), time.Now(), nil
		},
	}
	f.env = f.env.withDefaults()
	return f
}

func (f *fakes) executor() *Executor {
	return NewExecutor(f.env, func(r rundir.Fault) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.records = append(f.records, r)
	})
}

// recorded is the only record of a fault.
func (f *fakes) recorded(t *testing.T, id int) rundir.Fault {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	var found []rundir.Fault
	for _, r := range f.records {
		if r.ID == id {
			found = append(found, r)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d records of fault %d, want 1: %+v", len(found), id, f.records)
	}
	return found[0]
}

func (f *fakes) kinds() []rundir.EventKind {
	f.mu.Lock()
	defer f.mu.Unlock()
	var kinds []rundir.EventKind
	for _, e := range f.events {
		kinds = append(kinds, e.Kind)
	}
	return kinds
}
