package workload

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/spockchaos/spockchaos/topology"
	"github.com/spockchaos/spockchaos/topology/link"
	"github.com/spockchaos/spockchaos/topology/local"
	"github.com/spockchaos/spockchaos/topology/local/localtest"
	"github.com/spockchaos/spockchaos/workload/history"
)

// server is one PostgreSQL server without any replication, behind a link: all that
// the workload needs. Its database is of one test.
type server struct {
	t       testing.TB
	cluster *local.Cluster
	node    topology.Node
	link    *link.Link
	db      string
}

// startServer starts a server and a link to it; both end with the test.
func startServer(t testing.TB) *server {
	t.Helper()
	c := localtest.Start(t, 1, localtest.Bare())
	n := c.Nodes()[0]
	return &server{t: t, cluster: c, node: n, link: c.Link(topology.Client, n.Name()).(topology.InProcess).Link, db: local.Database}
}

// fresh is the same server with an empty database, for a test of its own.
func (s *server) fresh(t testing.TB) *server {
	t.Helper()
	c := *s
	c.t = t
	t.Cleanup(s.link.Heal) // whatever became of the test
	c.db = fmt.Sprintf("db%d", time.Now().UnixNano())
	conn, err := pgx.Connect(t.Context(), s.dsn())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	if _, err := conn.Exec(t.Context(), "create database "+c.db); err != nil {
		t.Fatal(err)
	}
	return &c
}

func (s *server) start() {
	s.t.Helper()
	if err := s.node.Start(context.Background()); err != nil {
		s.t.Fatal(err)
	}
}

func (s *server) stop(mode topology.StopMode) {
	s.t.Helper()
	if err := s.node.Stop(context.Background(), mode); err != nil {
		s.t.Fatal(err)
	}
}

// dsn goes straight to the server, linkDSN through the link. Of two words with the same key the last one counts.
func (s *server) dsn() string { return s.node.DSN() + " dbname=" + s.db }

func (s *server) linkDSN() string {
	return s.cluster.LinkDSN(topology.Client, s.node.Name()) + " dbname=" + s.db
}

func (s *server) connect() *pgx.Conn {
	s.t.Helper()
	c, err := pgx.Connect(context.Background(), s.dsn())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

// running is a Run in the background.
type running struct {
	dir   string
	stats *Stats
	logs  *observer.ObservedLogs // warnings and worse
	stop  func()                 // ends it and waits
}

func (s *server) run(w history.Workload, cfg Config) *running {
	s.t.Helper()
	r := &running{dir: filepath.Join(s.t.TempDir(), "history"), stats: NewStats()}
	core, logs := observer.New(zap.WarnLevel)
	r.logs = logs
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- Run(ctx, RunOptions{
			Workload: w, DSN: func(string) string { return s.linkDSN() }, HistoryDir: r.dir, Config: cfg,
			Log: zap.New(core), Clock: time.Now, Stats: r.stats,
		})
	}()
	var once sync.Once
	r.stop = func() {
		once.Do(func() {
			cancel()
			select {
			case err := <-done:
				if err != nil {
					s.t.Errorf("run: %v", err)
				}
			case <-time.After(30 * time.Second):
				s.t.Error("run did not end")
			}
		})
	}
	s.t.Cleanup(r.stop)
	return r
}

// await polls until cond holds.
func await(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for until := time.Now().Add(60 * time.Second); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}
