package local_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/topology"
	"github.com/spockchaos/spockchaos/topology/clusterfile"
	"github.com/spockchaos/spockchaos/topology/clustertest"
	"github.com/spockchaos/spockchaos/topology/engine"
	"github.com/spockchaos/spockchaos/topology/link"
	"github.com/spockchaos/spockchaos/topology/local"
	"github.com/spockchaos/spockchaos/topology/local/localtest"
	"github.com/spockchaos/spockchaos/topology/owner"
)

func exec1(t *testing.T, ctx context.Context, dsn, sql string) {
	t.Helper()
	c, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(ctx) }()
	if _, err := c.Exec(ctx, sql); err != nil {
		t.Fatal(err)
	}
}

func value[T any](t *testing.T, ctx context.Context, dsn, sql string) T {
	t.Helper()
	c, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(ctx) }()
	var v T
	if err := c.QueryRow(ctx, sql).Scan(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

func eventually(t *testing.T, ctx context.Context, what string, f func() bool) {
	t.Helper()
	for !f() {
		select {
		case <-ctx.Done():
			t.Fatalf("never: %s", what)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// TestNode drives one node of a cluster through everything that can be done to it.
func TestNode(t *testing.T) {
	ctx := limit(t)
	dir := t.TempDir()
	c := localtest.Start(t, 2, localtest.Unwired(), localtest.With(func(o *local.Options) { o.Dir = dir }))
	n := c.Node("n1")
	exec1(t, ctx, n.DSN(), `CREATE TABLE kept (n int); INSERT INTO kept VALUES (1)`)
	count := func() int { return value[int](t, ctx, n.DSN(), `SELECT count(*)::int FROM kept`) }

	t.Run("file", func(t *testing.T) {
		info, err := os.Stat(filepath.Join(dir, rundir.ClusterFile))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Fatalf("%v, %v", info, err)
		}
		f, err := clusterfile.Read(dir)
		if err != nil {
			t.Fatal(err)
		}
		if len(f.Nodes) != 2 || len(f.Links) != 4 || f.Nodes[0].PID == 0 || f.Nodes[0].DSN != n.DSN() || f.Version != c.Version() {
			t.Errorf("%+v", f)
		}
		pids, err := n.Processes()
		if err != nil || pids[0] != f.Nodes[0].PID {
			t.Errorf("%v, %v", pids, err)
		}
	})
	t.Run("isolation", func(t *testing.T) {
		if os.Geteuid() == 0 {
			out, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", must(n.Processes())[0]))
			if err != nil || strings.Contains(string(out), "Uid:\t0") {
				t.Error("the server runs as root")
			}
		}
		if _, err := pgx.Connect(ctx, strings.Replace(n.DSN(), "password=", "password=x", 1)); err == nil {
			t.Error("any password will do")
		}
		if got := value[string](t, ctx, n.DSN(), `SHOW listen_addresses`); got != "127.0.0.1" {
			t.Error(got)
		}
	})
	for _, mode := range []topology.StopMode{topology.StopFast, topology.StopImmediate, topology.StopKill} {
		t.Run(fmt.Sprintf("stop %d", mode), func(t *testing.T) {
			before := must(n.Processes())
			if err := n.Stop(ctx, mode); err != nil {
				t.Fatal(err)
			}
			if pids, err := n.Processes(); len(pids) != 0 || err != nil {
				t.Fatalf("%v, %v", pids, err)
			}
			for _, pid := range before {
				if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil && !strings.Contains(string(b), ") Z") {
					t.Errorf("process %d is left: %s", pid, b)
				}
			}
			if err := n.Stop(ctx, mode); err != nil {
				t.Errorf("stopping what is down: %v", err)
			}
			if err := n.Start(ctx); err != nil {
				t.Fatal(err)
			}
			if err := n.Start(ctx); err != nil {
				t.Errorf("starting what is up: %v", err)
			}
			if count() != 1 {
				t.Error("the row is gone")
			}
		})
	}
	t.Run("pause", func(t *testing.T) {
		if paused, err := n.Paused(); paused || err != nil {
			t.Fatal(paused, err)
		}
		if err := n.Pause(ctx); err != nil {
			t.Fatal(err)
		}
		if paused, err := n.Paused(); !paused || err != nil {
			t.Fatal(paused, err)
		}
		short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
		defer cancel()
		if _, err := pgx.Connect(short, n.DSN()); err == nil {
			t.Error("a paused server answers")
		}
		if err := n.Resume(ctx); err != nil {
			t.Fatal(err)
		}
		if paused, err := n.Paused(); paused || err != nil {
			t.Fatal(paused, err)
		}
		count()
		for _, mode := range []topology.StopMode{topology.StopFast, topology.StopKill} {
			if err := n.Pause(ctx); err != nil {
				t.Fatal(err)
			}
			if err := n.Stop(ctx, mode); err != nil {
				t.Fatal(err)
			}
			if err := n.Pause(ctx); err == nil {
				t.Error("a server that is down was paused")
			}
			if err := n.Start(ctx); err != nil {
				t.Fatal(err)
			}
		}
	})
	t.Run("kill the postmaster alone", func(t *testing.T) {
		p, err := os.FindProcess(must(n.Processes())[0])
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := n.Stop(ctx, topology.StopFast); err != nil { // its orphans
			t.Fatal(err)
		}
		if err := n.Start(ctx); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("log", func(t *testing.T) {
		// The line is somewhere before the end: background workers write at the same time.
		whole, err := n.Log(1 << 20)
		if err != nil || !strings.Contains(whole, "ready to accept connections") {
			t.Errorf("%q, %v", whole, err)
		}
		end, err := n.Log(300)
		if err != nil || len(end) != 300 {
			t.Errorf("%q, %v", end, err)
		}
	})
	t.Run("port taken", func(t *testing.T) {
		port := value[string](t, ctx, n.DSN(), `SHOW port`)
		if err := n.Stop(ctx, topology.StopFast); err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp", "127.0.0.1:"+port)
		if err != nil {
			t.Fatal(err)
		}
		err = n.Start(ctx)
		if !errors.Is(err, local.ErrPortTaken) || !strings.Contains(err.Error(), "n1") || !strings.Contains(err.Error(), port) {
			t.Errorf("%v", err)
		}
		_ = l.Close()
		if err := n.Start(ctx); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("log", func(t *testing.T) { clustertest.CopiesLog(ctx, t, n) })
	t.Run("broken data", func(t *testing.T) {
		// A start that fails names the node and quotes the log.
		if err := n.Stop(ctx, topology.StopFast); err != nil {
			t.Fatal(err)
		}
		control := filepath.Join(c.Root(), "n1", "data", "global", "pg_control")
		if err := os.Rename(control, control+".away"); err != nil {
			t.Fatal(err)
		}
		err := n.Start(ctx)
		if err == nil || !strings.Contains(err.Error(), "n1") || !strings.Contains(err.Error(), "pg_control") {
			t.Errorf("%v", err)
		}
		if err := os.Rename(control+".away", control); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("lose", func(t *testing.T) {
		if err := n.Lose(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(c.Root(), "n1", "data")); !errors.Is(err, os.ErrNotExist) {
			t.Error("the data are there")
		}
		if err := n.Start(ctx); !errors.Is(err, local.ErrLost) {
			t.Errorf("%v", err)
		}
		if err := c.Save(ctx); !errors.Is(err, local.ErrLost) {
			t.Errorf("%v", err)
		}
	})
	root := c.Root()
	if err := c.Close(ctx); err != nil {
		t.Fatal(err)
	}
	for _, gone := range []string{root, filepath.Join(dir, rundir.ClusterFile)} {
		if _, err := os.Stat(gone); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left", gone)
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestNothingBypassesALink looks for walsenders that serve anybody but a link, and then stalls all links.
func TestNothingBypassesALink(t *testing.T) {
	ctx := limit(t)
	c := localtest.Start(t, 3)
	for _, n := range c.Nodes() {
		ports := map[int]string{}
		for _, l := range c.Links() {
			if l.To() == n.Name() {
				for _, conn := range l.(topology.InProcess).Connections() {
					ports[int(conn.Server.Port())] = l.From()
				}
			}
		}
		conn, err := pgx.Connect(ctx, n.DSN())
		if err != nil {
			t.Fatal(err)
		}
		rows, err := conn.Query(ctx, `SELECT coalesce(client_port, 0), application_name, backend_type FROM pg_stat_activity
			WHERE client_port IS NOT NULL AND pid <> pg_backend_pid() OR backend_type = 'walsender'`)
		if err != nil {
			t.Fatal(err)
		}
		senders := 0
		var port int
		var app, kind string
		_, err = pgx.ForEachRow(rows, []any{&port, &app, &kind}, func() error {
			from, ok := ports[port]
			if !ok {
				t.Errorf("%s: %s %s at port %d comes through no link", n.Name(), kind, app, port)
			}
			if kind == "walsender" {
				senders++
				if app != "sub_"+n.Name()+"_"+from {
					t.Errorf("%s: walsender %s comes through the link of %s", n.Name(), app, from)
				}
			}
			return nil
		})
		if err != nil || senders != 2 {
			t.Errorf("%s has %d walsenders, %v", n.Name(), senders, err)
		}
		_ = conn.Close(ctx)
	}
	for _, l := range c.Links() {
		for _, d := range []link.Direction{link.Upstream, link.Downstream} {
			if err := l.Update(ctx, d, func(link.Gate) link.Gate { return link.Gate{Stall: true} }); err != nil {
				t.Fatal(err)
			}
		}
	}
	short, cancel := context.WithTimeout(ctx, 8*time.Second) // longer than wal_sender_timeout
	defer cancel()
	if err := c.Ready(short); err == nil || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("with every link stalled, replication says %v", err)
	}
	for _, from := range c.Nodes() {
		for _, to := range c.Nodes() {
			n := value[int](t, ctx, to.DSN(), `SELECT n::int FROM spockchaos.probe WHERE node = '`+from.Name()+`'`)
			if want := 1; from != to && n != want || from == to && n != want+1 {
				t.Errorf("%s has probe row %d of %s", to.Name(), n, from.Name())
			}
		}
	}
	for _, l := range c.Links() {
		if err := l.Heal(ctx); err != nil {
			t.Fatal(err)
		}
	}
	start := time.Now()
	if err := c.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	t.Logf("replicating %v after healing", time.Since(start))
}

// TestEngine drives one subscription.
func TestEngine(t *testing.T) {
	ctx := limit(t)
	c := localtest.Start(t, 3)
	eng := localtest.Engine(t)
	sub, err := pgx.Connect(ctx, c.Node("n2").DSN())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sub.Close(ctx) }()
	prov, err := pgx.Connect(ctx, c.Node("n1").DSN())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = prov.Close(ctx) }()

	subs, err := eng.Subscriptions(ctx, sub)
	if err != nil || len(subs) != 2 {
		t.Fatal(subs, err)
	}
	prefix := map[string]string{"pglogical": "pgl", "spock": "spk"}[eng.Name()] // of the names of slots
	if s := subs[0]; s.Provider != "n1" || s.Status != "replicating" || s.Slot != prefix+"_chaos_n1_sub_n1_n2" || s.Origin != s.Slot {
		t.Errorf("%+v", s)
	}
	var there bool
	if err := prov.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $1)`, subs[0].Slot).Scan(&there); err != nil || !there {
		t.Error("no such slot", err)
	}
	if err := sub.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_replication_origin WHERE roname = $1)`, subs[0].Origin).Scan(&there); err != nil || !there {
		t.Error("no such origin", err)
	}
	apply, err := eng.ApplyWorkers(ctx, sub, "n1")
	if err != nil || len(apply) != 1 {
		t.Fatal(apply, err)
	}
	senders, err := eng.WalSenders(ctx, prov, "n2")
	if err != nil || len(senders) != 1 {
		t.Fatal(senders, err)
	}
	for range 2 {
		if err := eng.Disable(ctx, sub, "n1"); err != nil {
			t.Fatal(err)
		}
		if apply, err := eng.ApplyWorkers(ctx, sub, "n1"); err != nil || len(apply) != 0 {
			t.Fatal(apply, err)
		}
		eventually(t, ctx, "the walsender is gone", func() bool { return len(must(eng.WalSenders(ctx, prov, "n2"))) == 0 })
		start := time.Now()
		if err := eng.Enable(ctx, sub, "n1"); err != nil {
			t.Fatal(err)
		}
		if err := c.Ready(ctx); err != nil {
			t.Fatal(err)
		}
		t.Logf("replicating %v after enabling", time.Since(start))
	}
	// Each way of losing a worker, and how long it takes to come back.
	for what, do := range map[string]func() error{
		"apply worker terminated": func() error {
			_, err := sub.Exec(ctx, `SELECT pg_terminate_backend($1)`, must(eng.ApplyWorkers(ctx, sub, "n1"))[0])
			return err
		},
		"walsender terminated": func() error {
			_, err := prov.Exec(ctx, `SELECT pg_terminate_backend($1)`, must(eng.WalSenders(ctx, prov, "n2"))[0])
			return err
		},
		"link reset": func() error { _, err := c.Link("n2", "n1").Reset(ctx); return err },
	} {
		for _, kick := range []bool{false, true} {
			if err := do(); err != nil {
				t.Fatal(what, err)
			}
			start := time.Now()
			if kick {
				if err := engine.Restart(ctx, eng, sub, "n1"); err != nil {
					t.Fatal(err)
				}
			} else {
				// pglogical may take three minutes; wait for its own try no longer than it should take.
				short, cancel := context.WithTimeout(ctx, 7*time.Second)
				err := c.Ready(short)
				cancel()
				if err != nil {
					if err := engine.Restart(ctx, eng, sub, "n1"); err != nil {
						t.Fatal(err)
					}
					t.Logf("%s: pglogical slept, and was restarted", what)
				}
			}
			if err := c.Ready(ctx); err != nil {
				t.Fatal(what, err)
			}
			t.Logf("%s: replicating after %v (kicked: %v)", what, time.Since(start), kick)
		}
	}
	// Losing a node for good.
	if err := c.Node("n1").Lose(ctx); err != nil {
		t.Fatal(err)
	}
	if err := eng.DropNode(ctx, sub, "n1"); err != nil {
		t.Fatal(err)
	}
	if subs, err := eng.Subscriptions(ctx, sub); err != nil || len(subs) != 1 || subs[0].Provider != "n3" {
		t.Error(subs, err)
	}
	var slots []string
	if err := sub.QueryRow(ctx, `SELECT array_agg(slot_name::text) FROM pg_replication_slots`).Scan(&slots); err != nil || fmt.Sprint(slots) != "["+prefix+"_chaos_n2_sub_n2_n3]" {
		t.Error(slots, err)
	}
	if _, err := eng.ApplyWorkers(ctx, sub, "n1"); err == nil {
		t.Error("a subscription that is gone has workers")
	}
}

// TestDetach leaves a cluster up and ends it with the command that Detach gives.
func TestDetach(t *testing.T) {
	ctx := limit(t)
	dir := t.TempDir()
	c := localtest.Start(t, 2, localtest.Unwired(), localtest.With(func(o *local.Options) { o.Dir = dir }))
	stop, err := c.Detach(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(ctx); err != nil { // does nothing
		t.Error(err)
	}
	f, err := clusterfile.Read(dir)
	if err != nil || !f.Detached || f.Stop != stop || len(f.Links) != 0 {
		t.Errorf("%+v, %v", f, err)
	}
	for _, n := range f.Nodes {
		if value[int](t, ctx, n.DSN, `SELECT 1`) != 1 {
			t.Error("no answer")
		}
	}
	if out, err := exec.CommandContext(ctx, "sh", "-c", stop).CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
	for _, n := range c.Nodes() {
		eventually(t, ctx, "the servers are gone", func() bool { return len(must(n.Processes())) == 0 })
	}
	if _, err := os.Stat(f.Root); !errors.Is(err, os.ErrNotExist) {
		t.Error("the data are left")
	}
}

// TestWatchdog kills a program that has a cluster with SIGKILL.
func TestWatchdog(t *testing.T) {
	if parent := os.Getenv("SPOCKCHAOS_TEST_PARENT"); parent != "" {
		doomed(t, parent)
		return
	}
	ctx := limit(t)
	dir := t.TempDir()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestWatchdog$", "-test.v")
	cmd.Env = append(os.Environ(), "SPOCKCHAOS_TEST_PARENT="+dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var f clusterfile.File
	eventually(t, ctx, "the cluster is up", func() bool {
		var err error
		f, err = clusterfile.Read(dir)
		return err == nil && len(f.Nodes) == 2 && f.Nodes[0].PID != 0 && f.Nodes[1].PID != 0
	})
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	start := time.Now()
	eventually(t, ctx, "servers and data are gone", func() bool {
		_, err := os.Stat(f.Root)
		_, ferr := os.Stat(filepath.Join(dir, rundir.ClusterFile))
		return running(f) == 0 && errors.Is(err, os.ErrNotExist) && errors.Is(ferr, os.ErrNotExist)
	})
	if d := time.Since(start); d > 10*time.Second {
		t.Errorf("it took %v", d)
	} else {
		t.Logf("gone after %v", d)
	}
}

// running counts the servers of a cluster that have not ended.
func running(f clusterfile.File) (n int) {
	for _, node := range f.Nodes {
		if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", node.PID)); err == nil && !strings.Contains(string(b), ") Z") {
			n++
		}
	}
	return n
}

// unwatchedEnv makes doomed do without a watchdog.
const unwatchedEnv = "SPOCKCHAOS_TEST_UNWATCHED"

// doomed is the program that gets killed.
func doomed(t *testing.T, dir string) {
	localtest.Start(t, 2, localtest.Unwired(), localtest.With(func(o *local.Options) {
		o.Dir = dir
		if os.Getenv(unwatchedEnv) != "" {
			o.WatchdogCommand = nil
		}
	}))
	time.Sleep(time.Minute) // it does not get that far
}

// TestLeftovers kills a program that has a cluster and no watchdog, and looks for what it left.
func TestLeftovers(t *testing.T) {
	ctx := limit(t)
	parent, err := os.MkdirTemp("", "leftovers-") // one that the servers' account can reach
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(parent) }()
	if err := os.Chmod(parent, 0o755); err != nil {
		t.Fatal(err)
	}
	if parent, err = filepath.EvalSymlinks(parent); err != nil {
		t.Fatal(err)
	}
	here := localtest.Start(t, 1, localtest.Unwired(), localtest.With(func(o *local.Options) { o.DataParent = parent }))
	dir := t.TempDir()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestWatchdog$")
	cmd.Env = append(os.Environ(), "SPOCKCHAOS_TEST_PARENT="+dir, unwatchedEnv+"=1", "TMPDIR="+parent)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill() }()
	var f clusterfile.File
	eventually(t, ctx, "the cluster is up", func() bool {
		var err error
		f, err = clusterfile.Read(dir)
		return err == nil && len(f.Nodes) == 2 && f.Nodes[0].PID != 0 && f.Nodes[1].PID != 0
	})
	// Whatever else is there is nobody's cluster.
	for _, name := range []string{"spockchaos-e2e-1", "spockchaos-file"} {
		if err := os.Mkdir(filepath.Join(parent, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	found := func() map[string]local.Leftover {
		all, err := local.Leftovers(parent)
		if err != nil {
			t.Fatal(err)
		}
		by := map[string]local.Leftover{}
		for _, l := range all {
			by[l.Root] = l
		}
		return by
	}
	if all := found(); len(all) != 2 || all[f.Root].State != owner.Alive || all[here.Root()].State != owner.Alive {
		t.Fatalf("found %+v, want this program's cluster and the other's, both owned", all)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	all := found()
	left := all[f.Root]
	if left.State != owner.Dead || left.Kept || len(left.Servers) == 0 || all[here.Root()].State != owner.Alive {
		t.Fatalf("found %+v, want the killed program's cluster without an owner", all)
	}
	if err := left.Remove(ctx); err != nil {
		t.Fatal(err)
	}
	if all := found(); len(all) != 1 {
		t.Errorf("found %+v afterwards", all)
	}
	if n := running(f); n > 0 {
		t.Errorf("%d servers still run", n)
	}
	if _, err := here.Detach(ctx); err != nil {
		t.Fatal(err)
	}
	mine := found()[here.Root()]
	if !mine.Kept || len(mine.Servers) == 0 {
		t.Errorf("a cluster that is left up is %+v", mine)
	}
	if err := mine.Remove(ctx); err != nil {
		t.Fatal(err)
	}
}
