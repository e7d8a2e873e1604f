package docker_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/topology"
	"github.com/spockchaos/spockchaos/topology/clusterfile"
	"github.com/spockchaos/spockchaos/topology/clustertest"
	"github.com/spockchaos/spockchaos/topology/docker"
	"github.com/spockchaos/spockchaos/topology/docker/dockertest"
	"github.com/spockchaos/spockchaos/topology/docker/image/imagetest"
	"github.com/spockchaos/spockchaos/topology/link"
	"github.com/spockchaos/spockchaos/topology/server"
	"github.com/spockchaos/spockchaos/topology/wait"
)

const volumeSize = 300 << 20

// TestCluster takes one cluster of each version through everything that can be done to it.
func TestCluster(t *testing.T) {
	for _, major := range []string{"15", "17"} {
		t.Run("pg"+major, func(t *testing.T) { (&scene{major: major}).run(t) })
	}
}

// scene is a cluster and what its tests share.
type scene struct {
	major string
	dir   string
	api   docker.API
	node  docker.Server
	proxy string
	c     *docker.Cluster
	file  clusterfile.File
}

func (s *scene) run(t *testing.T) {
	s.dir = t.TempDir()
	s.api = dockertest.Connect(t)
	t.Cleanup(func() { _ = s.api.Close() })
	s.node, s.proxy = dockertest.Node(t, s.api, s.major), imagetest.Self(t, s.api)
	s.c = dockertest.Start(t, 3, s.major, s.images(), dockertest.With(func(o *docker.Options) { o.Dir, o.VolumeSize = s.dir, volumeSize }))
	for _, test := range []struct {
		name string
		do   func(*testing.T)
	}{
		{"up", s.up}, {"links are the only way", s.onlyWay}, {"link", s.link},
		{"save and restore", s.saveAndRestore},
		{"stop and start", s.stopAndStart}, {"pause", s.pause},
		{"log", func(t *testing.T) { clustertest.CopiesLog(limit(t), t, s.c.Node("n1")) }},
		{"disconnect", s.disconnect}, {"drop packets", s.dropPackets}, {"disk", s.disk}, {"memory", s.memory},
		{"side by side", s.sideBySide},
	} {
		if !t.Run(test.name, func(t *testing.T) {
			began := time.Now()
			test.do(t)
			t.Logf("took %v", time.Since(began).Round(time.Millisecond))
		}) {
			return // the others would only fail after it
		}
	}
}

// images are the same for every cluster of a version.
func (s *scene) images() dockertest.Option {
	return dockertest.With(func(o *docker.Options) { o.Server, o.Proxy = s.node, s.proxy })
}

func limit(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// ask makes a query of one value.
func ask[T any](t *testing.T, ctx context.Context, dsn, query string) (v T) {
	t.Helper()
	c, err := pgx.Connect(ctx, dsn)
	done(t, err)
	defer func() { _ = c.Close(ctx) }()
	if err := c.QueryRow(ctx, query).Scan(&v); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return v
}

// try runs a statement.
func try(ctx context.Context, dsn, statement string) error {
	c, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close(ctx) }()
	_, err = c.Exec(ctx, statement)
	return err
}

func done(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (s *scene) up(t *testing.T) {
	ctx := limit(t)
	positions := map[string]string{}
	for _, n := range s.c.Nodes() {
		pids, err := n.Processes()
		if err != nil || len(pids) < 5 {
			t.Errorf("%s has processes %v, %v", n.Name(), pids, err)
		}
		if paused, err := n.Paused(); paused || err != nil {
			t.Errorf("%s is paused: %v, %v", n.Name(), paused, err)
		}
		if got := ask[string](t, ctx, n.DSN(), "SHOW server_version"); !strings.HasPrefix(got, s.major+".") || !strings.HasPrefix(got, s.c.Version()) {
			t.Errorf("%s is PostgreSQL %s, the cluster says %s", n.Name(), got, s.c.Version())
		}
		for name, want := range map[string]string{"fsync": "off", "wal_level": "logical", "shared_preload_libraries": "pglogical"} {
			if got := ask[string](t, ctx, n.DSN(), "SHOW "+name); got != want {
				t.Errorf("%s has %s = %s", n.Name(), name, got)
			}
		}
		known := ask[int](t, ctx, n.DSN(), "SELECT count(*)::int FROM pg_settings WHERE name = '"+server.PluginList+"'")
		if known == 1 && !strings.Contains(ask[string](t, ctx, n.DSN(), "SHOW "+server.PluginList), "pglogical_output") {
			t.Errorf("%s does not trust the engine's plugin", n.Name())
		}
		if others := ask[string](t, ctx, n.DSN(), "SELECT coalesce(string_agg(datname, ','), '') FROM pg_database WHERE datallowconn AND datname <> current_database()"); others != "" {
			t.Errorf("%s lets one connect to %s", n.Name(), others)
		}
		// The WAL of each begins at a place of its own.
		at := ask[string](t, ctx, n.DSN(), "SELECT pg_walfile_name(pg_current_wal_lsn())")
		for other, theirs := range positions {
			if theirs == at {
				t.Errorf("%s and %s both write %s", n.Name(), other, at)
			}
		}
		positions[n.Name()] = at
		if text, err := n.Log(1000); err != nil || len(text) > 1000 || !strings.Contains(text, "\n") {
			t.Errorf("the log of %s is %q, %v", n.Name(), text, err)
		}
		if n.Means() != "docker kill" {
			t.Errorf("means: %s", n.Means())
		}
	}
	if got := s.c.Node("n4"); got != nil {
		t.Errorf("there is %v", got)
	}
	var err error
	if s.file, err = clusterfile.Read(s.dir); err != nil {
		t.Fatal(err)
	}
	if s.file.Topology != "docker" || s.file.Run != s.c.Run() || len(s.file.Nodes) != 3 || len(s.file.Links) != 9 || s.file.Nodes[0].PID == 0 {
		t.Errorf("%s has %+v", rundir.ClusterFile, s.file)
	}
}

// reaches tries a TCP connection from within a node's network.
func (s *scene) reaches(ctx context.Context, t *testing.T, node int, host string, port int) bool {
	t.Helper()
	// The shell's own, so that the image needs nothing; a connection whose packets are dropped would hang.
	r, err := s.api.Exec(ctx, s.file.Nodes[node].Container, "", "timeout", "1", "bash", "-c", fmt.Sprintf("exec 3<>/dev/tcp/%s/%d", host, port))
	if err != nil {
		t.Error(err)
	}
	return err == nil && r.Status == 0
}

// hostPort takes them out of a conninfo.
func hostPort(t *testing.T, dsn string) (string, int) {
	t.Helper()
	c, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Error(err)
		return "", 0
	}
	return c.Host, int(c.Port)
}

// onlyWay shows that a node reaches others through their links and not otherwise.
func (s *scene) onlyWay(t *testing.T) {
	ctx := limit(t)
	var all sync.WaitGroup
	for i := range s.file.Nodes {
		all.Go(func() { s.onlyWayFrom(ctx, t, i, (i+1)%len(s.file.Nodes)) })
	}
	all.Wait()
}

func (s *scene) onlyWayFrom(ctx context.Context, t *testing.T, i, j int) {
	from, to := s.file.Nodes[i].Name, s.file.Nodes[j].Name
	if host, port := hostPort(t, s.c.LinkDSN(from, to)); !s.reaches(ctx, t, i, host, port) {
		t.Errorf("%s does not reach %s through their link at %s:%d", from, to, host, port)
	}
	// A node's own conninfo is right inside as well: it reaches itself by it.
	if host, port := hostPort(t, s.file.Nodes[i].DSN); !s.reaches(ctx, t, i, host, port) {
		t.Errorf("%s does not reach itself", from)
	}
	target, err := s.api.Container(ctx, s.file.Nodes[j].Container)
	if err != nil || len(target.Addrs) != 1 {
		t.Errorf("%s is at %v, %v", to, target.Addrs, err)
	}
	_, port := hostPort(t, s.file.Nodes[j].DSN)
	for network, addr := range target.Addrs {
		if addr == "" || s.reaches(ctx, t, i, addr, port) {
			t.Errorf("%s reaches %s at %s in %s, past their link", from, to, addr, network)
		}
		gateway := addr[:strings.LastIndex(addr, ".")+1] + strconv.Itoa(last(addr)-1)
		if s.reaches(ctx, t, i, gateway, port) {
			t.Errorf("%s reaches %s at the machine's %s, where its port is published", from, to, gateway)
		}
	}
}

func last(addr string) int {
	n, _ := strconv.Atoi(addr[strings.LastIndex(addr, ".")+1:])
	return n
}

func (s *scene) link(t *testing.T) {
	ctx := limit(t)
	if l := s.c.Link("n1", "n1"); l != nil {
		t.Errorf("there is %v", l)
	}
	l := s.c.Link(topology.Client, "n1")
	host, port := hostPort(t, s.c.LinkDSN(topology.Client, "n1"))
	if l.Addr() != fmt.Sprintf("%s:%d", host, port) || host != "127.0.0.1" {
		t.Errorf("the link is at %s, its conninfo leads to %s:%d", l.Addr(), host, port)
	}
	done(t, server.Ping(ctx, s.c.LinkDSN(topology.Client, "n1")))
	stalled := func(on bool) func(link.Gate) link.Gate {
		return func(g link.Gate) link.Gate { g.Stall = on; return g }
	}
	done(t, l.Update(ctx, link.Downstream, stalled(true)))
	short, cancel := context.WithTimeout(ctx, 400*time.Millisecond)
	defer cancel()
	if err := server.Ping(short, s.c.LinkDSN(topology.Client, "n1")); err == nil {
		t.Error("a stalled link lets through")
	}
	done(t, server.Ping(ctx, s.c.Node("n1").DSN()))
	done(t, l.Heal(ctx))
	done(t, server.Ping(ctx, s.c.LinkDSN(topology.Client, "n1")))
}

func (s *scene) saveAndRestore(t *testing.T) {
	ctx := limit(t)
	began := time.Now()
	done(t, s.c.Save(ctx))
	t.Logf("saved after %v", time.Since(began).Round(time.Millisecond))
	for round := range 2 {
		began = time.Now()
		done(t, s.c.Restore(ctx))
		up := time.Since(began)
		done(t, s.c.Ready(ctx))
		t.Logf("restored after %v, replicating after %v", up.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
		s.whole(t, ctx)
		// Nothing of the round before is left, and what this one leaves is gone in the next.
		for _, n := range s.c.Nodes() {
			if ask[int](t, ctx, n.DSN(), `SELECT count(*)::int FROM pg_class WHERE relname = 'left_over'`) != 0 {
				t.Error(n.Name(), "remembers the last round")
			}
			done(t, try(ctx, n.DSN(), `CREATE TABLE left_over AS SELECT generate_series(1, 10000) i`))
		}
		if round == 1 {
			return
		}
		n := s.c.Node("n2")
		done(t, n.Lose(ctx))
		if pids, err := n.Processes(); err != nil || len(pids) > 0 {
			t.Errorf("a lost node has processes %v, %v", pids, err)
		}
		if err := n.Start(ctx); !errors.Is(err, docker.ErrLost) {
			t.Errorf("a lost node starts: %v", err)
		}
		if text, err := n.Log(1000); err != nil || text == "" {
			t.Errorf("a lost node's log is %q, %v", text, err)
		}
		volumes, err := s.api.Volumes(ctx, docker.LabelRun+"="+s.c.Run())
		done(t, err)
		if slices.ContainsFunc(volumes, func(v docker.Volume) bool { return strings.HasSuffix(v.Name, "-n2") }) {
			t.Errorf("the data of a lost node are there: %v", volumes)
		}
		done(t, n.Lose(ctx)) // once more is no error
		s.breakAll(t, ctx)
	}
}

// breakAll does to n1, n3 and the links whatever can be done to them: Restore ends it.
func (s *scene) breakAll(t *testing.T, ctx context.Context) {
	n1, n3 := s.c.Node("n1"), s.c.Node("n3")
	done(t, n1.(topology.DiskFiller).FillDisk(ctx))
	done(t, n1.(topology.Disconnector).Disconnect(ctx))
	_, err := n1.(topology.MemoryLimiter).LimitMemory(ctx)
	done(t, err)
	done(t, n3.(topology.PacketDropper).DropPackets(ctx))
	done(t, n3.Pause(ctx))
	done(t, s.c.Link("n1", "n2").Refuse(ctx, true))
	done(t, s.c.Link("n1", "n3").Update(ctx, link.Upstream, func(link.Gate) link.Gate { return link.Gate{Stall: true} }))
}

// whole looks for what breakAll has done.
func (s *scene) whole(t *testing.T, ctx context.Context) {
	t.Helper()
	n1, n3 := s.c.Node("n1"), s.c.Node("n3")
	if _, free, err := n1.(topology.DiskFiller).DiskSpace(ctx); err != nil || free == 0 {
		t.Errorf("%d bytes are free, %v", free, err)
	}
	if off, err := n1.(topology.Disconnector).Disconnected(ctx); off || err != nil {
		t.Errorf("disconnected: %v, %v", off, err)
	}
	if _, err := n1.(topology.MemoryLimiter).MemoryPressure(ctx); err == nil {
		t.Error("the memory is still limited")
	}
	if _, _, err := n3.(topology.PacketDropper).DroppedPackets(ctx); err == nil {
		t.Error("packets are still dropped")
	}
}

func (s *scene) stopAndStart(t *testing.T) {
	ctx := limit(t)
	n := s.c.Node("n1")
	for i, mode := range []topology.StopMode{topology.StopKill, topology.StopImmediate, topology.StopFast} {
		done(t, try(ctx, n.DSN(), fmt.Sprintf("CREATE TABLE kept_%d ()", i)))
		done(t, n.Stop(ctx, mode))
		if pids, err := n.Processes(); err != nil || len(pids) > 0 {
			t.Errorf("a stopped node has processes %v, %v", pids, err)
		}
		if err := server.Ping(ctx, n.DSN()); err == nil {
			t.Error("a stopped node answers")
		}
		done(t, n.Stop(ctx, mode)) // once more is no error
		if err := n.Pause(ctx); err == nil || !strings.Contains(err.Error(), "pausing n1: it is down") {
			t.Errorf("a stopped node is paused: %v", err)
		}
		began := time.Now()
		done(t, n.Start(ctx))
		t.Logf("started after %v", time.Since(began).Round(time.Millisecond))
		done(t, n.Start(ctx)) // once more is no error
		// fsync is off: what was committed survives all the same, for the machine goes on.
		ask[int](t, ctx, n.DSN(), fmt.Sprintf("SELECT count(*)::int FROM kept_%d", i))
		text, err := n.Log(1 << 16)
		done(t, err)
		if recovered := strings.LastIndex(text, "automatic recovery in progress") > strings.LastIndex(text, "database system was shut down"); recovered != (mode != topology.StopFast) {
			t.Errorf("after mode %d it recovered: %v", mode, recovered)
		}
	}
}

func (s *scene) pause(t *testing.T) {
	ctx := limit(t)
	n := s.c.Node("n2")
	state := func(want bool) {
		t.Helper()
		if paused, err := n.Paused(); paused != want || err != nil {
			t.Errorf("paused: %v, %v, want %v", paused, err, want)
		}
		if pids, err := n.Processes(); len(pids) == 0 || err != nil {
			t.Errorf("processes: %v, %v", pids, err)
		}
	}
	done(t, n.Pause(ctx))
	done(t, n.Pause(ctx)) // once more is no error
	state(true)
	short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	if server.Ping(short, n.DSN()) == nil {
		t.Error("a paused node answers")
	}
	done(t, n.Resume(ctx))
	done(t, n.Resume(ctx))
	state(false)
	done(t, server.Ping(ctx, n.DSN()))
	// A paused node ends in every way.
	for _, mode := range []topology.StopMode{topology.StopKill, topology.StopFast} {
		done(t, n.Pause(ctx))
		done(t, n.Stop(ctx, mode))
		done(t, n.Start(ctx))
		state(false)
	}
}

func (s *scene) disconnect(t *testing.T) {
	ctx := limit(t)
	n := s.c.Node("n1")
	d := n.(topology.Disconnector)
	state := func(want bool) {
		t.Helper()
		if off, err := d.Disconnected(ctx); off != want || err != nil {
			t.Errorf("disconnected: %v, %v, want %v", off, err, want)
		}
		short, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		if err := server.Ping(short, n.DSN()); (err != nil) != want {
			t.Errorf("its published port: %v", err)
		}
	}
	done(t, d.Reconnect(ctx)) // nothing to do
	state(false)
	done(t, d.Disconnect(ctx))
	done(t, d.Disconnect(ctx)) // once more is no error
	state(true)
	if pids, err := n.Processes(); len(pids) == 0 || err != nil {
		t.Errorf("processes: %v, %v", pids, err)
	}
	done(t, d.Reconnect(ctx))
	state(false)
	done(t, server.Ping(ctx, s.c.LinkDSN(topology.Client, "n1"))) // at the same address as before
	if host, port := hostPort(t, s.c.LinkDSN("n1", "n2")); !s.reaches(ctx, t, 0, host, port) {
		t.Error("n1 does not reach n2 any more")
	}
}

func (s *scene) dropPackets(t *testing.T) {
	ctx := limit(t)
	n := s.c.Node("n3")
	d := n.(topology.PacketDropper)
	if _, _, err := d.DroppedPackets(ctx); err == nil || strings.Contains(err.Error(), "\n") {
		t.Errorf("counted without a rule: %v", err)
	}
	done(t, d.PassPackets(ctx)) // nothing to do
	done(t, server.Ping(ctx, s.c.LinkDSN(topology.Client, "n3")))
	done(t, d.DropPackets(ctx))
	done(t, server.Ping(ctx, n.DSN())) // whoever watches goes on
	short, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if server.Ping(short, s.c.LinkDSN(topology.Client, "n3")) == nil {
		t.Error("packets come through the link")
	}
	in, out, err := d.DroppedPackets(ctx)
	if err != nil || in == 0 {
		t.Errorf("dropped %d in, %d out, %v", in, out, err)
	}
	t.Logf("dropped %d packets in, %d out", in, out)
	done(t, d.PassPackets(ctx))
	done(t, server.Ping(ctx, s.c.LinkDSN(topology.Client, "n3")))
	// A stop ends it.
	done(t, d.DropPackets(ctx))
	done(t, n.Stop(ctx, topology.StopKill))
	if err := d.DropPackets(ctx); err == nil || !strings.Contains(err.Error(), "it is down") {
		t.Errorf("dropping the packets of a node that is down: %v", err)
	}
	done(t, n.Start(ctx))
	if _, _, err := d.DroppedPackets(ctx); err == nil {
		t.Error("a new start drops packets")
	}
	done(t, server.Ping(ctx, s.c.LinkDSN(topology.Client, "n3")))
}

func (s *scene) disk(t *testing.T) {
	ctx := limit(t)
	n := s.c.Node("n2")
	d := n.(topology.DiskFiller)
	size, free, err := d.DiskSpace(ctx)
	if err != nil || size != volumeSize || free <= 0 || free >= size {
		t.Errorf("%d of %d bytes are free, %v", free, size, err)
	}
	done(t, d.FreeDisk(ctx)) // nothing to do
	done(t, d.FillDisk(ctx))
	if _, free, err := d.DiskSpace(ctx); err != nil || free != 0 {
		t.Errorf("of a full disk %d bytes are free, %v", free, err)
	}
	// Kept in memory by no version, and read by nobody: so it is written.
	const room = "CREATE TEMP TABLE room AS SELECT repeat(md5(i::text), 60) AS v FROM generate_series(1, 500) i"
	if err := try(ctx, n.DSN(), room); err == nil || !strings.Contains(err.Error(), "No space left on device") {
		t.Errorf("a statement that needs room: %v", err)
	}
	done(t, d.FreeDisk(ctx))
	if _, after, err := d.DiskSpace(ctx); err != nil || after < free/2 {
		t.Errorf("%d bytes are free, before it were %d, %v", after, free, err)
	}
	done(t, try(ctx, n.DSN(), room))
}

func (s *scene) memory(t *testing.T) {
	ctx := limit(t)
	n := s.c.Node("n1")
	m := n.(topology.MemoryLimiter)
	if _, err := m.MemoryPressure(ctx); err == nil {
		t.Error("there is pressure without a limit")
	}
	done(t, m.FreeMemory(ctx)) // nothing to do
	bytes, err := m.LimitMemory(ctx)
	done(t, err)
	var p topology.Pressure
	for ctx.Err() == nil && p.MajorFaults < 100 && p.OOMs == 0 {
		short, cancel := context.WithTimeout(ctx, time.Second)
		_ = server.Ping(short, n.DSN()) // a new backend needs memory
		cancel()
		if p, err = m.MemoryPressure(ctx); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d kB: %+v", bytes>>10, p)
	done(t, m.FreeMemory(ctx))
	done(t, n.Start(ctx)) // the server itself may have been killed
	for server.Ping(ctx, n.DSN()) != nil {
		done(t, wait.For(ctx, 20*time.Millisecond))
	}
	ask[int](t, ctx, n.DSN(), "SELECT count(*)::int FROM generate_series(1, 1000000)")
}

// sideBySide makes another cluster beside the first one.
func (s *scene) sideBySide(t *testing.T) {
	ctx := limit(t)
	other := dockertest.Start(t, 1, s.major, s.images(), dockertest.Unwired())
	if _, ok := other.Node("n1").(topology.DiskFiller); ok {
		t.Error("a volume without a size can be filled up")
	}
	done(t, server.Ping(ctx, other.LinkDSN(topology.Client, "n1")))
	done(t, other.Close(ctx))
	done(t, s.c.Ready(ctx))
	for _, n := range s.c.Nodes() {
		done(t, server.Ping(ctx, n.DSN()))
	}
}
