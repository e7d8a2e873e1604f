package workload

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/spockchaos/spockchaos/topology/link"
	"github.com/spockchaos/spockchaos/workload/history"
)

// server is one PostgreSQL server without any replication, behind a link: all that
// the workload needs.
type server struct {
	t    testing.TB
	bin  string
	dir  string
	port int
	cred *syscall.Credential
	out  *os.File
	*process
	link *link.Link
	db   string
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

// process is the server's process as it is now: tests restart it.
type process struct {
	cmd  *exec.Cmd
	gone chan struct{} // closed when cmd has ended
}

// startServer starts a server and a link to it; both end with the test.
func startServer(t testing.TB) *server {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a PostgreSQL server")
	}
	s := &server{t: t, bin: findPostgres(t), process: &process{}, db: "postgres"}
	dir, err := os.MkdirTemp("", "workload-test-")
	if err != nil {
		t.Fatal(err)
	}
	s.dir = dir
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if os.Getuid() == 0 { // postgres refuses to run as root
		u, err := user.Lookup("postgres")
		if err != nil {
			t.Skipf("as root a user postgres is needed: %v", err)
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		s.cred = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(dir, uid, gid); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := s.command("initdb", "-D", s.data(), "-U", "chaos", "-A", "trust", "-N", "--locale=C", "-E", "UTF8").CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.port = l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	s.out, err = os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.out.Close() })
	s.start()
	t.Cleanup(func() { s.stop(syscall.SIGQUIT) })

	set, err := link.NewSet(1, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = set.Close() })
	s.link, err = set.New("client", "n1", fmt.Sprintf("127.0.0.1:%d", s.port))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func findPostgres(t testing.TB) string {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	sort.Strings(found)
	if len(found) > 0 {
		return filepath.Dir(found[len(found)-1])
	}
	if out, err := exec.Command("pg_config", "--bindir").Output(); err == nil {
		return strings.TrimSpace(string(out))
	}
	t.Skip("no PostgreSQL server is installed")
	return ""
}

func (s *server) data() string { return filepath.Join(s.dir, "data") }

func (s *server) command(name string, args ...string) *exec.Cmd {
	c := exec.Command(filepath.Join(s.bin, name), args...)
	c.Dir = "/"
	c.SysProcAttr = &syscall.SysProcAttr{Credential: s.cred, Setpgid: true}
	return c
}

func (s *server) start() {
	s.t.Helper()
	s.cmd = s.command("postgres", "-D", s.data(), "-p", strconv.Itoa(s.port), "-c", "listen_addresses=127.0.0.1",
		"-c", "unix_socket_directories=", "-c", "fsync=off", "-c", "max_connections=60",
		"-c", "track_commit_timestamp=on", "-c", "wal_level=logical", "-c", "shared_buffers=64MB")
	s.cmd.Stdout, s.cmd.Stderr = s.out, s.out
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.gone = make(chan struct{})
	go func(c *exec.Cmd, gone chan struct{}) { _ = c.Wait(); close(gone) }(s.cmd, s.gone)
	for until := time.Now().Add(60 * time.Second); ; {
		c, err := pgx.Connect(context.Background(), s.dsn())
		if err == nil {
			_ = c.Close(context.Background())
			return
		}
		select {
		case <-s.gone:
			log, _ := os.ReadFile(s.out.Name())
			s.t.Fatalf("postgres ended:\n%s", log)
		case <-time.After(50 * time.Millisecond):
		}
		if time.Now().After(until) {
			s.t.Fatalf("postgres does not answer: %v", err)
		}
	}
}

// stop ends the server: SIGINT fast, SIGQUIT immediate.
func (s *server) stop(sig syscall.Signal) {
	s.t.Helper()
	_ = s.cmd.Process.Signal(sig)
	select {
	case <-s.gone:
	case <-time.After(60 * time.Second):
		_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
		s.t.Error("postgres did not stop")
	}
}

// dsn goes straight to the server, linkDSN through the link.
func (s *server) dsn() string {
	return fmt.Sprintf("host=127.0.0.1 port=%d user=chaos dbname=%s sslmode=disable", s.port, s.db)
}

func (s *server) linkDSN() string {
	host, port, _ := net.SplitHostPort(s.link.Addr())
	return fmt.Sprintf("host=%s port=%s user=chaos dbname=%s sslmode=disable", host, port, s.db)
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
