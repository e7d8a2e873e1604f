package watch

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/spockchaos/spockchaos/topology"
	"github.com/spockchaos/spockchaos/topology/engine"
	"github.com/spockchaos/spockchaos/workload"
	"github.com/spockchaos/spockchaos/workload/history"
)

// server is one bare PostgreSQL without an engine: what a watcher reads, a test
// makes by hand. Each database of it serves as a node.
type server struct {
	t    testing.TB
	bin  string
	dir  string
	port int
	cmd  *exec.Cmd
	as   *syscall.Credential // nil: this process's own user
}

// startServer starts a server of the version in SPOCKCHAOS_TEST_PG_BIN, or of the newest installed.
func startServer(t testing.TB) *server {
	t.Helper()
	bin := os.Getenv("SPOCKCHAOS_TEST_PG_BIN")
	if bin == "" {
		found, err := filepath.Glob("/usr/lib/postgresql/*/bin")
		if err != nil || len(found) == 0 {
			t.Fatalf("no PostgreSQL below /usr/lib/postgresql: %v", err)
		}
		slices.Sort(found)
		bin = found[len(found)-1]
	}
	dir, err := os.MkdirTemp("/tmp", "spockchaos-watch-")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, bin: bin, dir: dir}
	t.Cleanup(func() {
		s.kill()
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if os.Getuid() == 0 {
		u, err := user.Lookup("postgres")
		if err != nil {
			t.Fatal(err)
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		s.as = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(dir, uid, gid); err != nil {
			t.Fatal(err)
		}
	}
	s.run("initdb", "-D", s.data(), "-U", "postgres", "-A", "trust", "--no-sync")
	conf := "listen_addresses = '127.0.0.1'\nunix_socket_directories = ''\nfsync = off\nwal_level = logical\nmax_wal_senders = 4\nshared_buffers = 16MB\nlogging_collector = off\n"
	f, err := os.OpenFile(filepath.Join(s.data(), "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(conf); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.port = l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	s.start()
	return s
}

func (s *server) data() string { return filepath.Join(s.dir, "data") }

func (s *server) run(name string, args ...string) {
	s.t.Helper()
	c := exec.Command(filepath.Join(s.bin, name), args...)
	c.Dir, c.SysProcAttr = s.dir, &syscall.SysProcAttr{Credential: s.as}
	if out, err := c.CombinedOutput(); err != nil {
		s.t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

func (s *server) start() {
	s.t.Helper()
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	s.cmd = exec.Command(filepath.Join(s.bin, "postgres"), "-D", s.data(), "-p", strconv.Itoa(s.port))
	s.cmd.Dir, s.cmd.SysProcAttr, s.cmd.Stdout, s.cmd.Stderr = s.dir, &syscall.SysProcAttr{Credential: s.as}, log, log
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	await(s.t, "the server answers", func(ctx context.Context) error {
		c, err := pgx.Connect(ctx, s.dsn("postgres"))
		if err != nil {
			return err
		}
		return c.Close(ctx)
	})
}

// pids are the postmaster and its children.
func (s *server) pids() []int {
	s.t.Helper()
	pid := s.cmd.Process.Pid
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		s.t.Fatal(err)
	}
	pids := []int{pid}
	for f := range strings.FieldsSeq(string(b)) {
		n, err := strconv.Atoi(f)
		if err != nil {
			s.t.Fatal(err)
		}
		pids = append(pids, n)
	}
	return pids
}

func (s *server) signal(sig syscall.Signal) {
	s.t.Helper()
	for _, p := range s.pids() {
		if err := syscall.Kill(p, sig); err != nil && err != syscall.ESRCH {
			s.t.Fatal(err)
		}
	}
}

// kill ends the server at once, as a crash does.
func (s *server) kill() {
	if s.cmd == nil || s.cmd.ProcessState != nil {
		return
	}
	for _, p := range append(s.pids()[1:], s.cmd.Process.Pid) {
		_ = syscall.Kill(p, syscall.SIGKILL) // may be gone by itself
	}
	_ = s.cmd.Wait() // "signal: killed"
}

func (s *server) dsn(database string) string {
	return fmt.Sprintf("host=127.0.0.1 port=%d user=postgres dbname=%s sslmode=disable", s.port, database)
}

func (s *server) connect(database string) *pgx.Conn {
	s.t.Helper()
	c, err := pgx.Connect(s.t.Context(), s.dsn(database))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { closeQuietly(c) })
	return c
}

// database makes a database with the workload's tables.
func (s *server) database(name string) *pgx.Conn {
	s.t.Helper()
	exec1(s.t, s.connect("postgres"), "CREATE DATABASE "+name)
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
