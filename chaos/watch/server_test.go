package watch

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/spockchaos/spockchaos/topology"
	"github.com/spockchaos/spockchaos/topology/engine"
	"github.com/spockchaos/spockchaos/topology/local"
	"github.com/spockchaos/spockchaos/topology/local/localtest"
	"github.com/spockchaos/spockchaos/workload"
	"github.com/spockchaos/spockchaos/workload/history"
)

// TestOnServer shares one server. Each test finds it as it was after its first start.
func TestOnServer(t *testing.T) {
	s := startServer(t)
	for _, test := range []struct {
		name string
		run  func(*testing.T, *server)
	}{
		{"Snapshot", testSnapshot},
		{"Digest", testDigest},
		{"WaitEqual", testWaitEqual},
		{"Observe", testObserve},
		{"ObservedIsDurable", testObservedIsDurable},
		{"ObserverLeavesAnIdleNodeAlone", testObserverLeavesAnIdleNodeAlone},
		{"ObservationNotDurable", testObservationNotDurable},
		{"ObserversRun", testObserversRun},
		{"Sample", testSample},
		{"SampleOfAPausedNode", testSampleOfAPausedNode},
		{"WatcherRun", testWatcherRun},
		{"SampleRemembersProviders", testSampleRemembersProviders},
		{"DirectGivesUpABrokenConnection", testDirectGivesUpABrokenConnection},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, s.fresh(t)) })
	}
}

// server is one bare PostgreSQL without an engine: what a watcher reads, a test
// makes by hand. Each database of it serves as a node.
type server struct {
	t       testing.TB
	cluster *local.Cluster
	node    topology.Node
}

// startServer makes a server; fresh starts it for a test.
func startServer(t testing.TB) *server {
	t.Helper()
	c := localtest.Start(t, 1, localtest.Bare())
	s := &server{t: t, cluster: c, node: c.Nodes()[0]}
	s.do(c.Save)
	return s
}

// fresh is the server with nothing of the tests before on it.
func (s *server) fresh(t testing.TB) *server {
	t.Helper()
	f := &server{t: t, cluster: s.cluster, node: s.node}
	f.do(s.cluster.Restore)
	return f
}

// do is for what is done to the server: it must succeed.
func (s *server) do(f func(context.Context) error) {
	s.t.Helper()
	if err := f(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
}

func (s *server) start() {
	s.t.Helper()
	s.do(s.node.Start)
}

// kill ends the server at once, as a crash does.
func (s *server) kill() {
	s.t.Helper()
	s.do(func(ctx context.Context) error { return s.node.Stop(ctx, topology.StopKill) })
}

// dsn is the conninfo of a database: of two words with the same key the last one counts.
func (s *server) dsn(database string) string { return s.node.DSN() + " dbname=" + database }

func (s *server) connect(database string) *pgx.Conn {
	s.t.Helper()
	c, err := pgx.Connect(s.t.Context(), s.dsn(database))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { closeQuietly(c) })
	return c
}

// database is a database with the workload's tables. One is there from the start.
func (s *server) database(name string) *pgx.Conn {
	s.t.Helper()
	if name != local.Database {
		exec1(s.t, s.connect(local.Database), "CREATE DATABASE "+name)
	}
	c := s.connect(name)
	if err := workload.Setup(s.t.Context(), c, history.Workload{}); err != nil {
		s.t.Fatal(err)
	}
	return c
}

func closeQuietly(c *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = c.Close(ctx) // the server may be gone
}

func exec1(t testing.TB, c *pgx.Conn, sql string, args ...any) {
	t.Helper()
	if _, err := c.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// await calls f until it gives no error, for at most 30 seconds.
func await(t testing.TB, what string, f func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		err := f(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not in time: %v", what, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// node is a name and a way in: all of topology.Node that this package uses.
type node struct {
	topology.Node
	name, dsn string
}

func (n node) Name() string { return n.name }
func (n node) DSN() string  { return n.dsn }

// subscribed is an engine with fixed subscriptions.
type subscribed struct {
	engine.Engine
	subscriptions []engine.Subscription
}

func (e subscribed) Subscriptions(context.Context, *pgx.Conn) ([]engine.Subscription, error) {
	return e.subscriptions, nil
}

// kept collects records in memory.
type kept[T any] struct {
	mu   sync.Mutex
	all  []T
	fail error
}

func (k *kept[T]) Append(v any) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fail != nil {
		return k.fail
	}
	k.all = append(k.all, v.(T))
	return nil
}

func (k *kept[T]) records() []T {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.all)
}
