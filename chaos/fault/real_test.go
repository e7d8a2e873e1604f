package fault

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap/zaptest"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/topology/local"
	"github.com/spockchaos/spockchaos/topology/local/localtest"
	"github.com/spockchaos/spockchaos/topology/wait"
)

// mesh is a wired cluster of real servers with a replicated table.
type mesh struct {
	env   Env
	names []string
	next  atomic.Int64

	mu     sync.Mutex
	events []rundir.NodeEvent
}

func (m *mesh) exec(ctx context.Context, node, sql string, args ...any) error {
	return m.env.with(ctx, node, func(c *pgx.Conn) error {
		_, err := c.Exec(ctx, sql, args...)
		return err
	})
}

// write puts a new row on a node, straight.
func (m *mesh) write(t *testing.T, node string) int64 {
	t.Helper()
	id := m.next.Add(1)
	if err := m.exec(t.Context(), node, "INSERT INTO public.fault_probe VALUES ($1, $2)", id, node); err != nil {
		t.Fatalf("write on %s: %v", node, err)
	}
	return id
}

func (m *mesh) has(ctx context.Context, node string, id int64) (bool, error) {
	found := false
	err := m.env.with(ctx, node, func(c *pgx.Conn) error {
		return c.QueryRow(ctx, "SELECT EXISTS (SELECT FROM public.fault_probe WHERE id = $1)", id).Scan(&found)
	})
	return found, err
}

// arrives waits for rows, on one connection for as long as it holds.
func (m *mesh) arrives(t *testing.T, node string, ids ...int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	began, nudged := time.Now(), false
	var last error
	if err := until(ctx, func() (bool, error) {
		last = m.env.with(ctx, node, func(c *pgx.Conn) error {
			return until(ctx, func() (bool, error) {
				if !nudged && time.Since(began) > 15*time.Second {
					nudged = true
					m.nudge(ctx, t, node)
				}
				var all bool
				err := c.QueryRow(ctx, "SELECT count(*) = $2 FROM public.fault_probe WHERE id = ANY($1)", ids, len(ids)).Scan(&all)
				return all, err
			})
		})
		return last == nil, nil
	}); err != nil {
		m.explain(t)
		t.Fatalf("rows %v are not on %s after a minute (%v)", ids, node, last)
	}
}

// nudge enables again what is enabled and down. pglogical 2.4.2 can leave an apply worker that died
// unstarted for minutes, when another of the same node had died and come again a moment before: its
// manager then sleeps for up to three minutes, unless a subscription is altered. See docs/faults.md.
func (m *mesh) nudge(ctx context.Context, t *testing.T, node string) {
	err := m.env.with(ctx, node, func(c *pgx.Conn) error {
		subs, err := m.env.Engine.Subscriptions(ctx, c)
		if err != nil {
			return err
		}
		for _, s := range subs {
			if s.Status == "down" {
				t.Logf("%s: its subscription to %s is enabled and down for long; it is enabled again", node, s.Provider)
				err = errors.Join(err, m.env.Engine.Enable(ctx, c, s.Provider))
			}
		}
		return err
	})
	if err != nil && ctx.Err() == nil {
		t.Logf("nudge %s: %v", node, err)
	}
}

// explain logs what each node says of its rows and its replication.
func (m *mesh) explain(t *testing.T) {
	for _, n := range m.env.Cluster.Nodes() {
		err := m.env.with(t.Context(), n.Name(), func(c *pgx.Conn) error {
			subs, err := m.env.Engine.Subscriptions(t.Context(), c)
			if err != nil {
				return err
			}
			var state string
			err = c.QueryRow(t.Context(), `SELECT format('highest rows %s; walsenders %s; origins %s; workers %s',
				(SELECT array_agg(id) FROM (SELECT id FROM public.fault_probe ORDER BY id DESC LIMIT 5) p),
				(SELECT array_agg((application_name, state, sent_lsn, pg_current_wal_lsn())) FROM pg_stat_replication),
				(SELECT array_agg((external_id, remote_lsn)) FROM pg_replication_origin_status),
				(SELECT array_agg((backend_type, state, wait_event)) FROM pg_stat_activity WHERE backend_type LIKE 'pglogical%'))`).Scan(&state)
			t.Logf("%s: %+v; %s", n.Name(), subs, state)
			return err
		})
		if err != nil {
			t.Logf("%s: %v", n.Name(), err)
		}
		if s, err := n.Log(4000); err == nil {
			t.Logf("the log of %s ends:\n%s", n.Name(), s)
		}
	}
}

// replicates checks that a row of every node reaches every other.
func (m *mesh) replicates(t *testing.T, names ...string) {
	t.Helper()
	var ids []int64
	for _, from := range names {
		ids = append(ids, m.write(t, from))
	}
	for _, to := range names {
		m.arrives(t, to, ids...)
	}
}

// stops checks that a row of one node does not reach another for as long as it would take many times over.
func (m *mesh) stops(t *testing.T, from, to string) {
	t.Helper()
	id := m.write(t, from)
	if err := wait.For(t.Context(), 700*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if found, err := m.has(t.Context(), to, id); err != nil || found {
		t.Errorf("a row of %s reached %s (%v, %v)", from, to, found, err)
	}
}

func TestFaultsOnRealServers(t *testing.T) {
	if testing.Short() {
		t.Skip("starts PostgreSQL servers")
	}
	m := newMesh(t)
	type flow struct{ from, to string }
	for _, tc := range []struct {
		plan     rundir.PlannedFault
		stops    []flow // what does not get through while it is on
		goes     []flow // and what does
		proof    string // what the proof must say
		endProof string
	}{
		{plan: rundir.PlannedFault{Name: "partition", Target: "n1<>n3"},
			stops: []flow{{"n1", "n3"}, {"n3", "n1"}}, goes: []flow{{"n1", "n2"}, {"n3", "n2"}}, proof: "0 bytes passed", endProof: "is answered in"},
		{plan: rundir.PlannedFault{Name: "partition_one_way", Target: "n2>n1"},
			stops: []flow{{"n1", "n2"}}, goes: []flow{{"n1", "n3"}}, proof: "0 bytes passed", endProof: "is answered in"},
		{plan: rundir.PlannedFault{Name: "isolate", Target: "n2", Parameters: Params{"clients": true}},
			stops: []flow{{"n1", "n2"}, {"n2", "n3"}}, goes: []flow{{"n1", "n3"}}, proof: "client>n2", endProof: "is answered in"},
		{plan: rundir.PlannedFault{Name: "stall", Target: "n3>n1", Parameters: Params{"direction": "down"}},
			stops: []flow{{"n1", "n3"}}, goes: []flow{{"n3", "n1"}, {"n1", "n2"}}, proof: "0 bytes passed", endProof: "is answered in"},
		{plan: rundir.PlannedFault{Name: "lag", Target: "n2>n1", Parameters: Params{"latency_ms": 60.0, "jitter_ms": 10.0}},
			goes: []flow{{"n1", "n2"}}, proof: "a round trip takes", endProof: "is answered in"},
		{plan: rundir.PlannedFault{Name: "slow", Target: "client>n1", Parameters: Params{"bytes_per_second": 65536.0}},
			goes: []flow{{"n1", "n2"}}, proof: "bytes a second (limit 65536), bytes waited", endProof: "is answered in"},
		{plan: rundir.PlannedFault{Name: "reset", Target: "n2>n1", Parameters: Params{"every_ms": 500.0}},
			proof: "a connection of our own ended", endProof: "connections reset in"},
		{plan: rundir.PlannedFault{Name: "cut", Target: "n3>n1", Parameters: Params{"direction": "down", "bytes": 1500.0}},
			proof: "connection closed after 1500 bytes", endProof: "is answered in"},
		{plan: rundir.PlannedFault{Name: "subscription_disabled", Target: "n2>n1"},
			stops: []flow{{"n1", "n2"}}, goes: []flow{{"n1", "n3"}, {"n2", "n1"}}, proof: "is disabled, 0 apply workers", endProof: "is enabled"},
		{plan: rundir.PlannedFault{Name: "terminate_walsender", Target: "n2>n1"}, proof: "is gone", endProof: "runs"},
		{plan: rundir.PlannedFault{Name: "terminate_apply", Target: "n2>n1"}, proof: "is gone", endProof: "runs"},
		{plan: rundir.PlannedFault{Name: "wal_recycle", Target: "n2", Parameters: Params{"every_ms": 300.0}},
			goes: []flow{{"n2", "n1"}}, proof: "switches with checkpoints", endProof: "ended"},
		{plan: rundir.PlannedFault{Name: "pause", Target: "n2"}, goes: []flow{{"n1", "n3"}}, proof: "are stopped", endProof: "answers a query"},
		{plan: rundir.PlannedFault{Name: "kill", Target: "n2"}, goes: []flow{{"n1", "n3"}}, proof: "are gone", endProof: "answers a query"},
		{plan: rundir.PlannedFault{Name: "immediate_stop", Target: "n1"}, goes: []flow{{"n2", "n3"}}, proof: "are gone", endProof: "answers a query"},
		{plan: rundir.PlannedFault{Name: "restart", Target: "n3"}, goes: []flow{{"n1", "n2"}}, proof: "fast shutdown: all", endProof: "answers a query"},
		// After restart: a clean stop may take too long once clocks were set back (docs/faults.md).
		{plan: rundir.PlannedFault{Name: ClockSkew, Target: "n2", Parameters: Params{"offset_ms": 61_000.0}},
			goes: []flow{{"n1", "n3"}}, proof: "in a session from before: +61.0s", endProof: "n2's clock is off by"},
		{plan: rundir.PlannedFault{Name: ClockSkew, Target: "n3", Parameters: Params{"offset_ms": -3600_000.0}},
			goes: []flow{{"n3", "n1"}, {"n1", "n3"}}, proof: "by the timestamp of a commit: -3600.0s", endProof: "n3's clock is off by"},
	} {
		t.Run(tc.plan.Name, func(t *testing.T) {
			tc.plan.ID = 1
			a := inject(t, m.env, tc.plan)
			if tc.plan.Name == "cut" {
				// It needs traffic, and makes none.
				for range 20 {
					m.write(t, "n1")
				}
			}
			began := time.Now()
			effect, proof := prove(t, a)
			t.Logf("effect %v in %s: %s", effect, short(time.Since(began)), proof)
			if !effect || !strings.Contains(proof, tc.proof) {
				t.Errorf("effect %v, proof %q, want %q", effect, proof, tc.proof)
			}
			for _, f := range tc.stops {
				m.stops(t, f.from, f.to)
			}
			for _, f := range tc.goes {
				m.arrives(t, f.to, m.write(t, f.from))
			}
			began = time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), healLimit)
			defer cancel()
			end, err := a.Heal(ctx)
			t.Logf("healed in %s: %s", short(time.Since(began)), end)
			_, comesAgain := a.(*terminated)
			if err != nil || !comesAgain && !strings.Contains(end, tc.endProof) {
				t.Errorf("heal: %q, %v", end, err)
			}
			began = time.Now()
			m.replicates(t, m.names...)
			t.Logf("the mesh replicates after %s", short(time.Since(began)))
			// pglogical may take minutes to start a worker again (docs/findings.md, 1), which the first heal only
			// tells; now that rows have passed it must be there.
			if comesAgain {
				if end, err := a.Heal(ctx); err != nil || !strings.Contains(end, tc.endProof) {
					t.Errorf("heal once the mesh replicates: %q, %v", end, err)
				}
			}
		})
	}
	t.Run("writes under a skewed clock", func(t *testing.T) { writesUnderSkew(t, m) })
	t.Run("two on one link", func(t *testing.T) { twoOnOneLink(t, m) })
	// The last: it costs a node.
	t.Run("loss", func(t *testing.T) { lossUnderLag(t, m) })
}

// What a node writes under a skewed clock bears that time everywhere, and what it writes of the same row afterwards, with
// an earlier timestamp, replaces it all the same. The offset outlives a kill.
func writesUnderSkew(t *testing.T, m *mesh) {
	a := inject(t, m.env, rundir.PlannedFault{ID: 1, Name: ClockSkew, Target: "n1", Parameters: Params{"offset_ms": 600_000.0}})
	down := inject(t, m.env, rundir.PlannedFault{ID: 2, Name: "kill", Target: "n1"})
	if _, err := down.Heal(t.Context()); err != nil {
		t.Fatal(err)
	}
	if effect, proof := prove(t, a); !effect {
		t.Errorf("after a kill: %s", proof)
	}
	id := m.write(t, "n1")
	m.arrives(t, "n2", id)
	var ahead float64
	err := m.env.with(t.Context(), "n2", func(c *pgx.Conn) error {
		return c.QueryRow(t.Context(), "SELECT extract(epoch FROM pg_xact_commit_timestamp(xmin) - clock_timestamp())::float8 FROM public.fault_probe WHERE id = $1", id).Scan(&ahead)
	})
	if err != nil || ahead < 500 || ahead > 600 {
		t.Errorf("on n2 the row of n1 is %.1f s ahead, %v", ahead, err)
	}
	if end, err := a.Heal(t.Context()); err != nil {
		t.Errorf("heal: %q, %v", end, err)
	}
	if err := m.exec(t.Context(), "n1", "UPDATE public.fault_probe SET node = 'later' WHERE id = $1", id); err != nil {
		t.Fatal(err)
	}
	m.replicates(t, m.names...)
	for _, node := range m.names {
		var v string
		err := m.env.with(t.Context(), node, func(c *pgx.Conn) error {
			return c.QueryRow(t.Context(), "SELECT node FROM public.fault_probe WHERE id = $1", id).Scan(&v)
		})
		if err != nil || v != "later" {
			t.Errorf("%s has %q, %v", node, v, err)
		}
	}
}

// Ending a stall leaves the lag on the same link.
func twoOnOneLink(t *testing.T, m *mesh) {
	late := inject(t, m.env, rundir.PlannedFault{ID: 1, Name: "lag", Target: "n2>n1", Parameters: Params{"latency_ms": 40.0, "jitter_ms": 1.0}})
	stalled := inject(t, m.env, rundir.PlannedFault{ID: 2, Name: "stall", Target: "n2>n1", Parameters: Params{"direction": "both"}})
	if effect, proof := prove(t, stalled); !effect {
		t.Errorf("stall: %s", proof)
	}
	if effect, proof := prove(t, late); effect || !strings.Contains(proof, "stalled by fault 2") {
		t.Errorf("lag under a stall: effect %v, %s", effect, proof)
	}
	if _, err := stalled.Heal(t.Context()); err != nil {
		t.Error(err)
	}
	if effect, proof := prove(t, late); !effect {
		t.Errorf("lag after the stall: %s", proof)
	}
	if _, err := late.Heal(t.Context()); err != nil {
		t.Error(err)
	}
	m.replicates(t, m.names...)
}

// The end of a loss round: a target lags, the node is lost, and healing works without it.
func lossUnderLag(t *testing.T, m *mesh) {
	var records []rundir.Fault
	x := NewExecutor(m.env, func(r rundir.Fault) { records = append(records, r) })
	if err := x.Run(t.Context(), []rundir.PlannedFault{
		{ID: 1, Name: "subscription_disabled", Target: "n2>n1"},
		{ID: 2, Name: "stall", Target: "n3>n1", Parameters: Params{"direction": "down"}, At: 100 * time.Millisecond},
		{ID: 3, Name: "pause", Target: "n3", At: 2500 * time.Millisecond, For: time.Second},
		{ID: 4, Name: "loss", Target: "n1", At: 3 * time.Second},
	}, time.Now()); err != nil {
		t.Fatal(err)
	}
	if got := x.Active(); !slices.Equal(got, []string{"subscription_disabled n2>n1", "stall n3>n1", "loss n1"}) {
		t.Errorf("active: %v", got)
	}
	if err := x.HealAll(t.Context()); err != nil {
		t.Error(err)
	}
	if len(records) != 4 {
		t.Fatalf("%d records", len(records))
	}
	for _, r := range records {
		t.Logf("%s %s: %v %s / %s", r.Name, r.Target, r.Effect, r.Proof, r.EndProof)
		if !r.Effect || r.Error != "" {
			t.Errorf("%+v", r)
		}
	}
	m.replicates(t, "n2", "n3")
	if n := m.events[len(m.events)-1]; n.Kind != rundir.EventLose && n.Kind != rundir.EventResume {
		t.Errorf("last event: %+v", n)
	}
}

func newMesh(t *testing.T) *mesh {
	t.Helper()
	cluster, eng := localtest.Start(t, 3, localtest.With(func(o *local.Options) { o.ClockSkew = true })), localtest.Engine(t)
	m := &mesh{}
	m.env = Env{
		Cluster: cluster, Engine: eng, Log: zaptest.NewLogger(t), Clock: time.Now,
		Connect: func(ctx context.Context, node string) (*pgx.Conn, error) {
			return pgx.Connect(ctx, cluster.Node(node).DSN())
		},
		Events: func(e rundir.NodeEvent) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.events = append(m.events, e)
		},
	}
	m.env = m.env.withDefaults()
	for _, n := range cluster.Nodes() {
		m.names = append(m.names, n.Name())
		err := m.env.with(t.Context(), n.Name(), func(c *pgx.Conn) error {
			if _, err := c.Exec(t.Context(), "CREATE TABLE public.fault_probe (id bigint PRIMARY KEY, node text NOT NULL)"); err != nil {
				return err
			}
			return eng.AddTables(t.Context(), c, []string{"public.fault_probe"}, nil)
		})
		if err != nil {
			t.Fatal(fmt.Errorf("table on %s: %w", n.Name(), err))
		}
	}
	m.replicates(t, m.names...)
	return m
}
