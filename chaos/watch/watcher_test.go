package watch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/topology"
	"github.com/spockchaos/spockchaos/topology/engine"
)

func TestNewWatcherRefuses(t *testing.T) {
	good := Options{Nodes: []topology.Node{node{name: "n1"}}, Engine: subscribed{}, Samples: &kept[rundir.Sample]{}, Clock: time.Now}
	if _, err := NewWatcher(good); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Options){
		"nodes":    func(o *Options) { o.Nodes = nil },
		"engine":   func(o *Options) { o.Engine = nil },
		"samples":  func(o *Options) { o.Samples = nil },
		"clock":    func(o *Options) { o.Clock = nil },
		"interval": func(o *Options) { o.Interval = -1 },
	} {
		bad := good
		spoil(&bad)
		if _, err := NewWatcher(bad); err == nil {
			t.Errorf("%s: not refused", name)
		}
	}
}

func testSample(t *testing.T, s *server) {
	c := s.database("chaos")
	e := subscribed{subscriptions: []engine.Subscription{
		{Name: "sub_n2", Provider: "n2", Status: "replicating", Origin: "pgl_chaos_n2_sub_n2"},
		{Name: "sub_n3", Provider: "n3", Status: "disabled", Origin: "pgl_chaos_n3_sub_n3"},
	}}
	w := newSampler(node{name: "n1", dsn: s.dsn("chaos")}, e, time.Now)
	defer w.close()

	before := w.sample(t.Context())
	if before.Error != "" {
		t.Fatal(before.Error)
	}
	if before.Slot != nil || len(before.Origins) != 0 || len(before.Clones) != 0 {
		t.Fatalf("an empty node shows %+v", before)
	}
	if before.Epoch.IsZero() || before.FlushLSN == 0 || before.InsertLSN < before.FlushLSN || before.RedoLSN == 0 ||
		before.CheckpointLSN < before.RedoLSN || before.WALBytes < 16<<20 || before.End.Before(before.At) || before.Node != "n1" {
		t.Fatalf("implausible: %+v", before)
	}
	if want := []rundir.Subscription{{Provider: "n2", Status: "replicating"}, {Provider: "n3", Status: "disabled"}}; !slices.Equal(before.Subscriptions, want) {
		t.Fatalf("subscriptions %+v", before.Subscriptions)
	}

	exec1(t, c, `SELECT pg_create_logical_replication_slot(n, 'test_decoding')
		FROM unnest(ARRAY['spk_recovery_chaos', 'spk_recovery_other', 'spk_rescue_clone_1', 'unrelated']) n`)
	exec1(t, c, `SELECT pg_replication_origin_create(n) FROM unnest(ARRAY['pgl_chaos_n2_sub_n2', 'stranger']) n`)
	exec1(t, c, `SELECT pg_replication_origin_advance('stranger', '0/77')`)
	exec1(t, c, `SELECT pg_replication_origin_session_setup('pgl_chaos_n2_sub_n2')`)
	exec1(t, c, `BEGIN; SELECT pg_replication_origin_xact_setup('1/2A', now());
		INSERT INTO chaos.counter VALUES (1, 1); COMMIT`)
	exec1(t, c, `CHECKPOINT`)

	var restart, confirmed uint64
	if err := c.QueryRow(t.Context(), `SELECT (restart_lsn - '0/0')::bigint, (confirmed_flush_lsn - '0/0')::bigint
		FROM pg_replication_slots WHERE slot_name = 'spk_recovery_chaos'`).Scan(&restart, &confirmed); err != nil {
		t.Fatal(err)
	}
	got := w.sample(t.Context())
	if got.Error != "" || got.Slot == nil {
		t.Fatalf("%+v", got)
	}
	want := rundir.Slot{Name: "spk_recovery_chaos", Restart: rundir.LSN(restart), Confirmed: rundir.LSN(confirmed), WALStatus: "reserved",
		Retained: int64(got.FlushLSN) - int64(restart)}
	if *got.Slot != want {
		t.Errorf("slot %+v, want %+v", *got.Slot, want)
	}
	if !slices.Equal(got.Clones, []string{"spk_rescue_clone_1"}) {
		t.Errorf("clones %v", got.Clones)
	}
	if len(got.Origins) != 1 || got.Origins[0].Node != "n2" || got.Origins[0].Remote != 1<<32+0x2a || got.Origins[0].Local == 0 {
		t.Errorf("origins %+v", got.Origins)
	}
	if got.RedoLSN <= before.RedoLSN || got.CheckpointLSN <= before.CheckpointLSN {
		t.Errorf("the checkpoint is not seen: %+v", got)
	}

	// A crash starts a new epoch; the origin's local LSN is 0 until something is applied again.
	s.kill()
	if down := w.sample(t.Context()); down.Error == "" || down.Slot != nil || down.Node != "n1" || down.At.IsZero() {
		t.Errorf("a node that is down gives %+v", down)
	}
	s.start()
	again := w.sample(t.Context())
	if again.Error != "" || !again.Epoch.After(got.Epoch) {
		t.Fatalf("after a crash: epoch %s, before %s, error %q", again.Epoch, got.Epoch, again.Error)
	}
	if len(again.Origins) != 1 || again.Origins[0].Remote != 1<<32+0x2a || again.Origins[0].Local != 0 {
		t.Errorf("after a crash: origins %+v", again.Origins)
	}

	// So does the crash of one backend, which the postmaster survives.
	var postmaster time.Time
	c = s.connect("chaos")
	if err := c.QueryRow(t.Context(), "SELECT pg_postmaster_start_time()").Scan(&postmaster); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(int(c.PgConn().PID()), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	await(t, "the server is back", func(context.Context) error {
		if r := w.sample(t.Context()); r.Error != "" || !r.Epoch.After(again.Epoch) {
			return fmt.Errorf("epoch %s, before %s, error %q", r.Epoch, again.Epoch, r.Error)
		}
		return nil
	})
	var now time.Time
	if err := s.connect("chaos").QueryRow(t.Context(), "SELECT pg_postmaster_start_time()").Scan(&now); err != nil {
		t.Fatal(err)
	}
	if !now.Equal(postmaster) {
		t.Errorf("the postmaster was started anew at %s: the test tests nothing", now)
	}
}

// A node that is stopped with SIGSTOP accepts connections (its kernel does) and
// answers nothing.
func testSampleOfAPausedNode(t *testing.T, s *server) {
	s.database("chaos")
	w := newSampler(node{name: "n1", dsn: s.dsn("chaos")}, subscribed{}, time.Now)
	defer w.close()
	if got := w.sample(t.Context()); got.Error != "" {
		t.Fatal(got.Error)
	}
	s.do(s.node.Pause)
	for range 2 { // with an open connection, then with a new one
		got := w.sample(t.Context())
		if took := got.End.Sub(got.At); got.Error == "" || took > readLimit+2*time.Second {
			t.Errorf("paused: error %q after %s", got.Error, took)
		}
	}
	s.do(s.node.Resume)
	await(t, "the node answers again", func(ctx context.Context) error {
		if got := w.sample(ctx); got.Error != "" {
			return errors.New(got.Error)
		}
		return nil
	})
}

func testWatcherRun(t *testing.T, s *server) {
	s.database("chaos")
	out := &kept[rundir.Sample]{}
	w, err := NewWatcher(Options{
		Nodes:  []topology.Node{node{name: "n1", dsn: s.dsn("chaos")}, node{name: "n2", dsn: "host=127.0.0.1 port=1 user=x dbname=x"}},
		Engine: subscribed{}, Samples: out, Clock: time.Now, Interval: 10 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(w.Latest()) != 0 {
		t.Error("samples before Run")
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	await(t, "ten samples of each node", func(context.Context) error {
		of := map[string]int{}
		for _, r := range out.records() {
			of[r.Node]++
			if (r.Error != "") != (r.Node == "n2") {
				t.Fatalf("%s: error %q", r.Node, r.Error)
			}
		}
		if of["n1"] < 10 || of["n2"] < 10 {
			return fmt.Errorf("%v", of)
		}
		return nil
	})
	latest := w.Latest()
	if latest["n1"].Error != "" || latest["n2"].Error == "" || latest["n1"].FlushLSN == 0 {
		t.Errorf("latest %+v", latest)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
	if last := out.records(); last[len(last)-1].Node == "n1" && last[len(last)-1].Error != "" {
		t.Errorf("our own end is recorded as silence of the node: %+v", last[len(last)-1])
	}

	full := errors.New("disk full")
	w.o.Samples = &kept[rundir.Sample]{fail: full}
	if err := w.Run(t.Context()); !errors.Is(err, full) {
		t.Errorf("Run with a full disk: %v", err)
	}
}

// A subscription that is gone leaves its origin behind for a while, and the origin keeps its provider.
func testSampleRemembersProviders(t *testing.T, s *server) {
	c := s.database("chaos")
	exec1(t, c, `SELECT pg_replication_origin_create('o')`)
	exec1(t, c, `SELECT pg_replication_origin_advance('o', '0/77')`)
	e := &subscribed{subscriptions: []engine.Subscription{{Provider: "n2", Origin: "o"}}}
	w := newSampler(node{name: "n1", dsn: s.dsn("chaos")}, e, time.Now)
	defer w.close()
	w.sample(t.Context())
	e.subscriptions = nil
	if got := w.sample(t.Context()); len(got.Origins) != 1 || got.Origins[0].Node != "n2" || len(got.Subscriptions) != 0 {
		t.Errorf("%+v", got)
	}
}

// What f leaves half done must not meet the next one.
func testDirectGivesUpABrokenConnection(t *testing.T, s *server) {
	d := &direct{node: node{name: "n1", dsn: s.dsn("chaos")}, application: "test"}
	defer d.close()
	pid := func() (pid uint32) {
		if err := d.use(t.Context(), 0, func(_ context.Context, c *pgx.Conn) error { pid = c.PgConn().PID(); return nil }); err != nil {
			t.Fatal(err)
		}
		return pid
	}
	first := pid()
	if pid() != first {
		t.Error("a sound connection was not kept")
	}
	boom := errors.New("boom")
	if err := d.use(t.Context(), 0, func(context.Context, *pgx.Conn) error { return boom }); !errors.Is(err, boom) {
		t.Errorf("got %v", err)
	}
	if pid() == first {
		t.Error("the connection was kept")
	}
	began := time.Now()
	err := d.use(t.Context(), 50*time.Millisecond, func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.Exec(ctx, "SELECT pg_sleep(30)")
		return err
	})
	if took := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || took > 10*time.Second {
		t.Errorf("limit of 50 ms: %v after %s", err, took)
	}
}
