package mesh

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/spockchaos/spockchaos/topology"
	"github.com/spockchaos/spockchaos/topology/engine"
	"github.com/spockchaos/spockchaos/topology/local"
	"github.com/spockchaos/spockchaos/topology/local/localtest"
)

// bed is a cluster with what a test does to it.
type bed struct {
	*testing.T
	ctx     context.Context
	cluster *local.Cluster
	mesh    Cluster
}

func newBed(t *testing.T, n int, opts ...localtest.Option) *bed {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	t.Cleanup(cancel)
	c := localtest.Start(t, n, opts...)
	return &bed{t, ctx, c, clusterOf(t, c)}
}

// clusterOf is a local cluster as a mesh, the clients' links included.
func clusterOf(t *testing.T, c *local.Cluster) Cluster {
	t.Helper()
	members := topology.Members(c)
	for _, m := range members {
		m.PeerDSN[topology.Client] = c.LinkDSN(topology.Client, m.Name)
	}
	return Cluster{Engine: localtest.Engine(t), Members: members}
}

func (b *bed) with(t *testing.T) *bed { return &bed{t, b.ctx, b.cluster, b.mesh} }

func (b *bed) exec(node, sql string, args ...any) {
	b.Helper()
	c, err := pgx.Connect(b.ctx, b.cluster.Node(node).DSN())
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = c.Close(b.ctx) }()
	if _, err := c.Exec(b.ctx, sql, args...); err != nil {
		b.Fatalf("%s: %s: %v", node, sql, err)
	}
}

func (b *bed) value(node, sql string, args ...any) string {
	b.Helper()
	c, err := pgx.Connect(b.ctx, b.cluster.Node(node).DSN())
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = c.Close(b.ctx) }()
	var v *string
	if err := c.QueryRow(b.ctx, "SELECT ("+sql+")::text", args...).Scan(&v); err != nil {
		b.Fatalf("%s: %s: %v", node, sql, err)
	}
	if v == nil {
		return ""
	}
	return *v
}

// setup must succeed; it returns the notes.
func (b *bed) setup() (notes []string) {
	b.Helper()
	var steps []string
	err := Setup(b.ctx, b.mesh, func(s Step) {
		steps = append(steps, s.Name)
		notes = append(notes, s.Notes...)
		b.Logf("%-22s %s", s.Name, s.Took.Round(time.Millisecond))
	})
	if err != nil {
		b.Fatal(err)
	}
	if len(steps) != 4 {
		b.Errorf("steps reported: %v", steps)
	}
	return notes
}

// check returns what failed, by the name of the check, as its reasons.
func (b *bed) check(c Cluster, o Options) map[string]string {
	b.Helper()
	failed := map[string]string{}
	var names []string
	ok, err := Check(b.ctx, c, o, func(r Result) {
		names = append(names, r.Name)
		b.Logf("%v %-24s %8s  %s", r.OK, r.Name, r.Took.Round(time.Millisecond), r.Reason)
		if !r.OK {
			failed[r.Name] = r.Reason
		}
		if r.OK && r.Reason == "" {
			b.Errorf("%s says nothing", r.Name)
		}
	})
	if err != nil {
		b.Fatal(err)
	}
	if ok != (len(failed) == 0) {
		b.Errorf("ok is %v with %v", ok, failed)
	}
	want := []string{"host connectivity", "inter-node connectivity", "extension", "nodes", "subscriptions", "data flow"}
	if !slices.Equal(names, want) {
		b.Errorf("checks reported: %v", names)
	}
	return failed
}

// good fails the test unless every check is passed and nothing of the tests is left.
func (b *bed) good() {
	b.Helper()
	if failed := b.check(b.mesh, Options{}); len(failed) > 0 {
		b.Errorf("not a mesh: %v", failed)
	}
	b.clean()
}

func (b *bed) clean() {
	b.Helper()
	for _, m := range b.mesh.Members {
		if n := b.value(m.Name, `SELECT count(*) FROM `+engine.ProbeTable+` WHERE node LIKE 'test/%'`); n != "0" {
			b.Errorf("%s has %s rows of tests", m.Name, n)
		}
	}
}

// expect fails the test unless exactly these checks failed, each with a reason that contains what is given.
func (b *bed) expect(failed, want map[string]string) {
	b.Helper()
	for name, part := range want {
		if got, ok := failed[name]; !ok || !strings.Contains(got, part) {
			b.Errorf("%s: %q, should contain %q", name, got, part)
		}
	}
	for name, got := range failed {
		if _, ok := want[name]; !ok {
			b.Errorf("%s failed: %s", name, got)
		}
	}
}

// wiring is what of a mesh a second set-up must not change.
func (b *bed) wiring(node string) string {
	return b.value(node, `SELECT string_agg(format('%s %s %s', s.sub_name, i.if_dsn, a.pid), ', ' ORDER BY s.sub_name)
		FROM pglogical.subscription s JOIN pglogical.node_interface i ON i.if_id = s.sub_origin_if
		LEFT JOIN pg_stat_activity a ON a.backend_type LIKE 'pglogical apply %:' || s.sub_id`) +
		b.value(node, `SELECT string_agg(slot_name, ', ' ORDER BY slot_name) FROM pg_replication_slots`)
}

func TestSetup(t *testing.T) {
	b := newBed(t, 3, localtest.Unwired())
	if failed := b.check(b.mesh, Options{}); len(failed) != 4 || !strings.Contains(failed["extension"], "run spockchaos setup") {
		t.Errorf("of servers that are no mesh yet: %v", failed)
	}
	for _, m := range b.mesh.Members {
		if n := b.value(m.Name, `SELECT count(*) FROM pg_extension WHERE extname IN ('dblink', 'pglogical')`); n != "0" {
			t.Errorf("the checks left extensions on %s", m.Name)
		}
	}
	// Half wired: one is a node, another one has the extension.
	b.exec("n1", `CREATE EXTENSION pglogical`)
	b.exec("n1", `SELECT pglogical.create_node('n1', $1)`, b.cluster.Node("n1").DSN())
	b.exec("n2", `CREATE EXTENSION pglogical`)
	b.setup()
	b.good()
	before := b.wiring("n2")
	if notes := b.setup(); len(notes) > 0 {
		t.Errorf("notes: %v", notes)
	}
	if after := b.wiring("n2"); after != before {
		t.Errorf("a second set-up changed\n%s to\n%s", before, after)
	}
	b.good()

	t.Run("every subscription damaged in another way", func(t *testing.T) {
		b := b.with(t)
		b.exec("n3", `SELECT pglogical.drop_subscription('sub_n1_n3')`)
		b.exec("n3", `SELECT pglogical.alter_subscription_remove_replication_set('sub_n2_n3', 'default')`)
		b.exec("n2", `SELECT pglogical.alter_subscription_disable('sub_n3_n2', true)`)
		elsewhere := `UPDATE pglogical.node_interface SET if_dsn = $2 WHERE if_id = (SELECT sub_origin_if FROM pglogical.subscription WHERE sub_name = $1)`
		b.exec("n2", elsewhere, "sub_n1_n2", "host=nowhere.invalid") // its worker does not know yet
		b.exec("n1", elsewhere, "sub_n2_n1", b.cluster.Node("n1").DSN())
		b.exec("n1", `SELECT pglogical.alter_subscription_disable('sub_n2_n1', true)`)
		b.exec("n1", `SELECT pglogical.alter_subscription_enable('sub_n2_n1', true)`)
		b.exec("n1", `SELECT pglogical.drop_subscription('sub_n3_n1')`)
		b.exec("n1", `UPDATE pglogical.node_interface SET if_dsn = 'host=nowhere.invalid' WHERE if_id = (SELECT node_local_interface FROM pglogical.local_node)`)
		b.setup()
		b.good()
	})
	t.Run("a node without the engine, one without procedures", func(t *testing.T) {
		b := b.with(t)
		b.exec("n2", `SELECT pglogical.drop_subscription(sub_name) FROM pglogical.subscription`)
		b.exec("n2", `SELECT pg_terminate_backend(active_pid, 5000) FROM pg_replication_slots WHERE active`)
		b.exec("n2", `SELECT pglogical.drop_node('n2')`)
		b.exec("n2", `DROP EXTENSION pglogical CASCADE`)
		b.exec("n3", `SELECT pg_drop_replication_slot(spock.recovery_slot_name())`)
		b.exec("n3", `DROP SCHEMA spock CASCADE; DROP EXTENSION dblink`)
		b.exec("n1", `SELECT pglogical.replication_set_remove_table('default', 'spockchaos.probe')`)
		b.setup()
		b.good()
	})
	t.Run("a subscription's slot is gone", func(t *testing.T) {
		b := b.with(t)
		b.exec("n2", `SELECT pglogical.alter_subscription_disable('sub_n1_n2', true)`)
		var dropped bool
		for !dropped && b.ctx.Err() == nil {
			dropped = b.value("n1", `SELECT count(pg_drop_replication_slot(slot_name)) FROM pg_replication_slots WHERE slot_name LIKE '%sub_n1_n2' AND NOT active`) == "1"
		}
		notes := b.setup()
		if len(notes) != 1 || !strings.Contains(notes[0], "n2 has lost its place in the WAL of n1") {
			t.Errorf("notes: %q", notes)
		}
		b.good()
	})
	t.Run("what is not ours is left alone", func(t *testing.T) {
		b := b.with(t)
		c := b.mesh
		c.Members = slices.Clone(c.Members)
		c.Members[0].Name, c.Members[1].Name = "n2", "n1"
		err := Setup(b.ctx, c, func(Step) {})
		if err == nil || !strings.Contains(err.Error(), " already") {
			t.Errorf("servers in the wrong order: %v", err)
		}
		b.good()
	})
}

func TestCheck(t *testing.T) {
	b := newBed(t, 3)
	b.setup()
	b.good()
	t.Run("a stopped node and a silent link", func(t *testing.T) {
		b := b.with(t)
		silent := b.cluster.Link(topology.Client, "n3")
		err := errors.Join(b.cluster.Node("n2").Stop(b.ctx, topology.StopKill), silent.Hold(b.ctx, true))
		if err != nil {
			t.Fatal(err)
		}
		failed := b.check(b.mesh, Options{SkipReplication: true})
		if err := errors.Join(silent.Hold(b.ctx, false), b.cluster.Node("n2").Start(b.ctx)); err != nil {
			t.Fatal(err)
		}
		b.expect(failed, map[string]string{
			"host connectivity":       "client>n3: no answer within 15s",
			"inter-node connectivity": "n2>n1, n2>n3: n2 does not answer this machine: connection refused",
			"extension":               "n2: connection refused",
			"nodes":                   "n2: connection refused",
			"subscriptions":           "n2: connection refused",
		})
		for check, part := range map[string]string{"host connectivity": "n2: connection refused; client>n2: ", "inter-node connectivity": "n1>n2"} {
			if !strings.Contains(failed[check], part) {
				t.Errorf("%s: %q, should contain %q", check, failed[check], part)
			}
		}
		b.setup()
		b.good()
	})
	t.Run("a refusing link and a disabled subscription", func(t *testing.T) {
		b := b.with(t)
		l := b.cluster.Link("n3", "n1")
		if err := errors.Join(l.Refuse(b.ctx, true), second(l.Reset(b.ctx))); err != nil {
			t.Fatal(err)
		}
		b.exec("n2", `SELECT pglogical.alter_subscription_disable('sub_n1_n2', true)`)
		failed := b.check(b.mesh, Options{})
		b.expect(failed, map[string]string{
			"inter-node connectivity": "n3>n1: could not establish connection: ",
			"subscriptions":           "n2>n1: sub_n1_n2 is disabled",
			"data flow":               "n1 to n2, n1 to n3: its row did not arrive within 10s",
		})
		if !strings.Contains(failed["subscriptions"], "n3>n1: sub_n1_n3 is down") {
			t.Errorf("subscriptions: %s", failed["subscriptions"])
		}
		for _, node := range []string{"n1", "n2", "n3"} {
			if n := b.value(node, `SELECT count(*) FROM spockchaos.probe WHERE node LIKE 'test/%'`); n != "0" {
				t.Errorf("%s has %s rows of a test that failed", node, n)
			}
		}
		if err := l.Heal(b.ctx); err != nil {
			t.Fatal(err)
		}
		b.setup()
		b.good()
	})
	t.Run("a link to another server", func(t *testing.T) {
		b := b.with(t)
		c := b.mesh
		c.Members = slices.Clone(c.Members)
		c.Members[0].PeerDSN = map[string]string{"n2": c.Members[2].PeerDSN["n2"]}
		b.expect(b.check(c, Options{SkipReplication: true}), map[string]string{
			"inter-node connectivity": "n2>n1: another server than n1 answers; n3>n1: there is no way from n3 to n1",
		})
	})
	t.Run("nodes of other names", func(t *testing.T) {
		b := b.with(t)
		c := b.mesh
		c.Members = slices.Clone(c.Members[:2])
		c.Members[0].Name = "n7"
		b.expect(b.check(c, Options{SkipReplication: true}), map[string]string{
			"inter-node connectivity": "no way from n7 to n2",
			"nodes":                   "n7: is node n1",
			"subscriptions":           "n2>n7: there is no subscription",
		})
	})
	t.Run("no recovery slot, no recovery procedures", func(t *testing.T) {
		b := b.with(t)
		b.exec("n1", `SELECT pg_drop_replication_slot(spock.recovery_slot_name())`)
		b.exec("n2", `DROP SCHEMA spock CASCADE`)
		b.expect(b.check(b.mesh, Options{SkipReplication: true}), map[string]string{
			"extension": "n2: the database has no recovery procedures",
			"nodes":     "n1: has no recovery slot spk_recovery_chaos (run spockchaos setup); n2: the database has no recovery procedures",
		})
		b.setup()
	})
	t.Run("interrupted", func(t *testing.T) {
		b := b.with(t)
		b.exec("n2", `SELECT pglogical.alter_subscription_disable('sub_n1_n2', true)`)
		ctx, cancel := context.WithCancel(b.ctx)
		defer cancel()
		go func() {
			// The row of n3 has come to n2: the test waits for that of n1.
			for ctx.Err() == nil && b.value("n2", `SELECT count(*) FROM spockchaos.probe WHERE node LIKE 'test/%/n3'`) == "0" {
				time.Sleep(10 * time.Millisecond)
			}
			cancel()
		}()
		_, err := Check(ctx, b.mesh, Options{}, func(Result) {})
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("interrupted: %v", err)
		}
		if n := b.value("n1", `SELECT count(*) FROM spockchaos.probe WHERE node LIKE 'test/%'`); n != "0" {
			t.Errorf("n1 has %s rows of an interrupted test", n)
		}
		b.exec("n3", `INSERT INTO spockchaos.probe VALUES ('test/killed/n3', 1)`) // what a killed test leaves
		b.setup()
		b.good()
	})
}

func second(_ int, err error) error { return err }

// Servers that know nothing of an engine, then one of them down.
func TestBareServers(t *testing.T) {
	b := newBed(t, 2, localtest.Bare())
	b.expect(b.check(b.mesh, Options{}), map[string]string{
		"extension":     "n1, n2: pglogical is not in shared_preload_libraries",
		"nodes":         "n1, n2: the database has no recovery procedures (run spockchaos setup)",
		"subscriptions": "",
		"data flow":     "n1 to n2, n2 to n1: there is no table spockchaos.probe (run spockchaos setup)",
	})
	if err := Setup(b.ctx, b.mesh, func(Step) {}); err == nil || !strings.Contains(err.Error(), "shared_preload_libraries") {
		t.Errorf("without the library: %v", err)
	}
	c := b.mesh
	c.Members = slices.Clone(c.Members[:1])
	c.Members[0].DSN = strings.Replace(c.Members[0].DSN, "password=", "password=x", 1)
	if err := Setup(b.ctx, c, func(Step) {}); err == nil || !strings.Contains(err.Error(), "password authentication failed") {
		t.Errorf("with a wrong password: %v", err)
	}
	if err := b.cluster.Node("n2").Stop(b.ctx, topology.StopFast); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(b.ctx, 300*time.Millisecond)
	defer cancel()
	var last Step
	err := Setup(ctx, b.mesh, func(s Step) { last = s })
	if err == nil || !strings.Contains(err.Error(), "n2: no answer in time: connection refused") || last.Err == nil || strings.Contains(err.Error(), "n1") {
		t.Errorf("with n2 stopped: %v", err)
	}
}

func TestReason(t *testing.T) {
	for want, err := range map[string]error{
		"":                                     nil,
		"n2: plain":                            fmt.Errorf("n2: %w", errors.New("plain")),
		"two lines":                            errors.New("two\n\tlines "),
		"no answer within 15s":                 unreachableError{fmt.Errorf("x: %w", context.DeadlineExceeded)},
		"answering: context deadline exceeded": fmt.Errorf("answering: %w", context.DeadlineExceeded),
	} {
		if got := Reason(err); got != want {
			t.Errorf("%v: %q, want %q", err, got, want)
		}
	}
}
