package rescue

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/spockchaos/spockchaos/sql"
	"github.com/spockchaos/spockchaos/topology"
	"github.com/spockchaos/spockchaos/topology/attach"
	"github.com/spockchaos/spockchaos/topology/engine"
	"github.com/spockchaos/spockchaos/topology/local"
	"github.com/spockchaos/spockchaos/topology/local/localtest"
	"github.com/spockchaos/spockchaos/topology/wait"
)

// bed is four nodes, each with tables, procedures and recovery slot, of which n1 is going to be lost.
type bed struct {
	*testing.T
	ctx     context.Context
	cluster *local.Cluster
	engine  engine.Engine
}

var survivorNames = []string{"n2", "n3", "n4"}

func newBed(ctx context.Context, t *testing.T) *bed {
	t.Helper()
	b := &bed{t, ctx, localtest.Start(t, 4), localtest.Engine(t)}
	for _, s := range []string{
		`CREATE TABLE item (id int PRIMARY KEY, v text); CREATE TABLE event (a int)`,
		"", `SELECT spock.create_recovery_slot()`,
	} {
		err := topology.Each(ctx, b.cluster.Nodes(), func(ctx context.Context, n topology.Node) error {
			return b.on(n.Name(), func(c *pgx.Conn) error {
				if s == "" {
					return errors.Join(b.engine.AddTables(ctx, c, []string{"item"}, []string{"event"}), sql.Install(ctx, c, b.engine.Name(), nil))
				}
				_, err := c.Exec(ctx, s)
				return err
			})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	b.exec("n1", `INSERT INTO item SELECT i, 'old' FROM generate_series(1, 100) i`)
	for _, n := range survivorNames {
		b.await(n, `SELECT count(*) = 100 FROM item`)
	}
	// The managers learn from each other which slot feeds whom.
	for _, n := range b.cluster.Nodes() {
		b.exec(n.Name(), `SELECT spock.advance_recovery_slot_to_min_position()`)
	}
	for _, n := range b.cluster.Nodes() {
		b.await(n.Name(), `SELECT count(*) = 4 FROM spock.recovery_heartbeat`)
	}
	if err := b.cluster.Save(ctx); err != nil {
		t.Fatal(err)
	}
	return b
}

// fresh is the bed as it was saved, for one test.
func (b *bed) fresh(t *testing.T) *bed {
	t.Helper()
	if err := b.cluster.Restore(b.ctx); err != nil {
		t.Fatal(err)
	}
	f := *b
	f.T = t
	return &f
}

func (b *bed) on(node string, f func(*pgx.Conn) error) error {
	c, err := pgx.Connect(b.ctx, b.cluster.Node(node).DSN())
	if err != nil {
		return err
	}
	defer engine.HangUp(c)
	return f(c)
}

func (b *bed) exec(node string, statements ...string) {
	b.Helper()
	err := b.on(node, func(c *pgx.Conn) error {
		for _, s := range statements {
			if _, err := c.PgConn().Exec(b.ctx, s).ReadAll(); err != nil {
				return fmt.Errorf("%s: %w", s, err)
			}
		}
		return nil
	})
	if err != nil {
		b.Fatalf("%s: %v", node, err)
	}
}

// get is a query's one value as text.
func (b *bed) get(node, query string) (v string) {
	b.Helper()
	err := b.on(node, func(c *pgx.Conn) error {
		return c.QueryRow(b.ctx, "SELECT coalesce(("+query+")::text, '')").Scan(&v)
	})
	if err != nil {
		b.Fatalf("%s: %s: %v", node, query, err)
	}
	return v
}

func (b *bed) await(node, query string) {
	b.Helper()
	for b.get(node, query) != "true" {
		if err := wait.For(b.ctx, 20*time.Millisecond); err != nil {
			b.Fatalf("%s: %s: %v", node, query, err)
		}
	}
}

// Transactions that lag makes targets lack, and the row changes in them.
const (
	lackedTransactions = 5
	lackedChanges      = 61
)

// lag writes on n1 what the targets do not get and every other survivor does.
func (b *bed) lag(targets ...string) {
	b.Helper()
	for _, n := range targets {
		if err := b.on(n, func(c *pgx.Conn) error { return b.engine.Disable(b.ctx, c, "n1") }); err != nil {
			b.Fatal(err)
		}
	}
	b.exec("n1",
		`INSERT INTO item SELECT i, 'new' FROM generate_series(1001, 1030) i`,
		`UPDATE item SET v = 'changed' WHERE id <= 10`,
		`DELETE FROM item WHERE id BETWEEN 11 AND 20`,
		`BEGIN; INSERT INTO event SELECT generate_series(1, 9); DELETE FROM item WHERE id = 21; COMMIT`,
		`INSERT INTO item VALUES (5000, 'last')`)
	for _, n := range survivorNames {
		if b.get(n, `SELECT enabled FROM spock.recovery_peer WHERE peer_node = 'n1'`) == "true" {
			b.await(n, `SELECT count(*) = 1 FROM item WHERE id = 5000`)
		}
	}
	// What a survivor writes itself, and gets from others, is in its WAL as well.
	b.exec("n2", `INSERT INTO item VALUES (6000, 'of n2')`)
	b.exec("n3", `INSERT INTO item VALUES (7000, 'of n3')`)
	for _, n := range survivorNames {
		b.await(n, `SELECT count(*) = 2 FROM item WHERE id IN (6000, 7000)`)
	}
}

// lose loses n1 for good.
func (b *bed) lose() {
	b.Helper()
	if err := b.cluster.Node("n1").Lose(b.ctx); err != nil {
		b.Fatal(err)
	}
	for _, n := range survivorNames {
		b.refuse(n, "n1")
	}
}

// refuse cuts from off from to.
func (b *bed) refuse(from, to string) {
	b.Helper()
	l := b.cluster.Link(from, to)
	_, rerr := 0, l.Refuse(b.ctx, true)
	if _, err := l.Reset(b.ctx); err != nil || rerr != nil {
		b.Fatal(err, rerr)
	}
}

// state is everything of the survivors that a plan must not change.
func (b *bed) state() string {
	b.Helper()
	var all []string
	for _, n := range survivorNames {
		all = append(all, n, b.digest(n),
			b.get(n, `SELECT string_agg(format('%s %s %s %s', slot_name, restart_lsn, confirmed_flush_lsn, temporary), E'\n' ORDER BY slot_name) FROM pg_replication_slots WHERE slot_name LIKE 'spk_rec%'`),
			b.get(n, `SELECT string_agg(slot_name, ' ' ORDER BY slot_name) FROM pg_replication_slots`),
			b.get(n, `SELECT string_agg(p::text, E'\n' ORDER BY p::text) FROM spock.recovery_peer p`),
			b.get(n, `SELECT string_agg(roname, ' ' ORDER BY roname) FROM pg_replication_origin`),
			b.get(n, `SELECT count(*) || ' ' || coalesce(string_agg(r::text, E'\n' ORDER BY id), '') FROM spock.recovery_run r`),
			b.get(n, `SELECT count(*) FROM spock.recovery_leaving`),
			b.get(n, `SELECT coalesce(max(pg_replication_origin_progress(origin_name, true)), '0/0') FROM spock.recovery_peer WHERE peer_node = 'n1'`))
	}
	return strings.Join(all, "\n")
}

func (b *bed) digest(node string) string {
	b.Helper()
	return b.get(node, `SELECT md5(string_agg(t, E'\n' ORDER BY t)) FROM (SELECT 'item' || i::text FROM item i UNION ALL SELECT 'event' || e::text FROM event e) x(t)`)
}

// options name every node.
func (b *bed) options() Options {
	o := Options{Failed: "n1", FailedDSN: []string{b.cluster.Node("n1").DSN()}, Maybe: map[string]bool{}, ServerDSN: map[string]string{}}
	for _, n := range survivorNames {
		o.Survivors = append(o.Survivors, attach.Node{Name: n, DSN: b.cluster.Node(n).DSN()})
	}
	return o
}

func (b *bed) open(o Options) *Rescue {
	b.Helper()
	r, err := Open(b.ctx, o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(r.Close)
	return r
}

func (b *bed) plan(o Options) (*Rescue, Plan) {
	b.Helper()
	r := b.open(o)
	p, err := r.Plan(b.ctx)
	if err != nil {
		b.Fatal(err)
	}
	for _, text := range append(append(p.Notes, p.Problems...), p.Alive...) {
		b.Logf("plan: %s", text)
	}
	return r, p
}

// report has what happens in the test's log.
func (b *bed) report() Report {
	return Report{
		Step:   func(text string) { b.Logf("· %s", text) },
		Notice: func(severity, text string) { b.Logf("  %s: %s", severity, text) },
		Call:   func(o Outcome) { b.Logf("%+v", o) },
	}
}

// rescue plans and carries it out.
func (b *bed) rescue(o Options) (Plan, Result) {
	b.Helper()
	r, p := b.plan(o)
	res, err := r.Run(b.ctx, p, b.report())
	if err != nil {
		b.Fatal(err)
	}
	return p, res
}

// rescued makes sure that all is well, told as and in truth, and that there is nothing more to do.
func (b *bed) rescued(res Result, o Options) {
	b.Helper()
	if !res.OK || len(res.Wrong) > 0 {
		b.Errorf("not rescued: %q", res.Wrong)
	}
	want := b.digest("n2")
	for _, n := range survivorNames {
		if got := b.digest(n); got != want {
			b.Errorf("%s has other rows than n2", n)
		}
		for what, query := range map[string]string{
			"subscriptions to n1":    `SELECT count(*) FROM spock.recovery_peer WHERE peer_node = 'n1'`,
			"disabled subscriptions": `SELECT count(*) FROM spock.recovery_peer WHERE NOT enabled`,
			"slots of n1":            `SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE '%\_n1'`,
			"clones":                 `SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE 'spk_rescue%' OR slot_name LIKE 'spockchaos%'`,
		} {
			if got := b.get(n, query); got != "0" {
				b.Errorf("%s has %s %s", n, got, what)
			}
		}
	}
	before := b.state()
	_, p := b.plan(o)
	if !p.Nothing() || len(p.Problems) > 0 || p.Source != "" {
		b.Errorf("afterwards there is something to do: %+v", p)
	}
	if after := b.state(); after != before {
		b.Errorf("looking again changed\n%s\nto\n%s", before, after)
	}
	// Replication goes on among them.
	b.exec("n3", `INSERT INTO item VALUES (9000, 'after')`)
	for _, n := range survivorNames {
		b.await(n, `SELECT count(*) = 1 FROM item WHERE id = 9000`)
	}
}
