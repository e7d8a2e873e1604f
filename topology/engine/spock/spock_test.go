package spock_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/spockchaos/spockchaos/sql"
	"github.com/spockchaos/spockchaos/topology"
	"github.com/spockchaos/spockchaos/topology/engine"
	"github.com/spockchaos/spockchaos/topology/engine/spock"
	"github.com/spockchaos/spockchaos/topology/local"
	"github.com/spockchaos/spockchaos/topology/local/localtest"
	"github.com/spockchaos/spockchaos/topology/wait"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start makes two nodes of real Spock with the recovery procedures and two tables.
func start(ctx context.Context, t *testing.T) (*local.Cluster, func(node string) *pgx.Conn) {
	t.Helper()
	bin := os.Getenv("SPOCKCHAOS_SPOCK_PG_BIN")
	if bin == "" {
		t.Skip("SPOCKCHAOS_SPOCK_PG_BIN names no installation of PostgreSQL with Spock")
	}
	t.Setenv("SPOCKCHAOS_TEST_PG_BIN", bin)
	cluster := localtest.Start(t, 2)
	connect := func(node string) *pgx.Conn {
		c, err := pgx.Connect(ctx, cluster.Node(node).DSN())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { engine.HangUp(c) })
		return c
	}
	for _, n := range []string{"n1", "n2"} {
		c := connect(n)
		run(ctx, t, c, "CREATE TABLE public.marker (session int, n bigint, PRIMARY KEY (session, n))", "CREATE TABLE public.item (id int PRIMARY KEY, v int)")
		if err := spock.New().AddTables(ctx, c, []string{"public.marker", "public.item"}, nil); err != nil {
			t.Fatal(err)
		}
		if err := sql.Install(ctx, c, "spock", nil); err != nil {
			t.Fatal(err)
		}
		run(ctx, t, c, "SELECT spock.create_recovery_slot()")
	}
	return cluster, connect
}

func run(ctx context.Context, t *testing.T, c *pgx.Conn, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if _, err := c.Exec(ctx, s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// until waits for a condition on a node.
func until(ctx context.Context, t *testing.T, c *pgx.Conn, condition string) {
	t.Helper()
	for {
		var is bool
		if err := c.QueryRow(ctx, "SELECT "+condition).Scan(&is); err != nil {
			t.Fatalf("%s: %v", condition, err)
		}
		if is {
			return
		}
		if err := wait.For(ctx, 20*time.Millisecond); err != nil {
			t.Fatalf("%s: %v", condition, err)
		}
	}
}

// TestDiscards has n2 give up a transaction whose update finds no row.
func TestDiscards(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	_, connect := start(ctx, t)
	n1, n2 := connect("n1"), connect("n2")
	run(ctx, t, n1, "INSERT INTO public.item VALUES (1, 1)")
	until(ctx, t, n2, "EXISTS (SELECT FROM public.item)")
	run(ctx, t, n2, "BEGIN", "SELECT spock.repair_mode(true)", "DELETE FROM public.item", "COMMIT") // does not replicate
	run(ctx, t, n1, "BEGIN", "INSERT INTO public.marker VALUES (3, 217)", "UPDATE public.item SET v = 2", "COMMIT", "INSERT INTO public.marker VALUES (3, 218)")
	until(ctx, t, n2, "EXISTS (SELECT FROM public.marker WHERE n = 218)")

	var got []engine.Discard
	keep := func(d engine.Discard) error { got = append(got, d); return nil }
	if err := spock.New().Discards(ctx, n2, "public", "marker", keep); err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 {
		t.Fatalf("%d discards: %+v", len(got), got)
	}
	d := got[0]
	if d.Origin != "n1" || d.XID == 0 || d.Source != "spock.exception_log" || d.Row["session"] != 3.0 || d.Row["n"] != 217.0 || !strings.Contains(d.Error, "did not find row") {
		t.Errorf("%+v", d)
	}
	if d.CommittedAt.IsZero() || d.LoggedAt.Before(d.CommittedAt) {
		t.Errorf("committed at %v, logged at %v", d.CommittedAt, d.LoggedAt)
	}
}

// TestProgressSurvivesACrash kills a subscriber: the subscription's own origin goes back then, the progress must not.
func TestProgressSurvivesACrash(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cluster, connect := start(ctx, t)
	n1, n2 := connect("n1"), connect("n2")
	progress := func(c *pgx.Conn) (both, own string) {
		subs, err := spock.New().Subscriptions(ctx, c)
		if err != nil || len(subs) != 1 {
			t.Fatal(subs, err)
		}
		if both, err = engine.Progress(ctx, c, subs[0]); err != nil {
			t.Fatal(err)
		}
		if err := c.QueryRow(ctx, "SELECT pg_replication_origin_progress($1, false)::text", subs[0].Origin).Scan(&own); err != nil {
			t.Fatal(err)
		}
		return both, own
	}
	run(ctx, t, n2, "CHECKPOINT")
	run(ctx, t, n1, "INSERT INTO public.item SELECT i, i FROM generate_series(1, 10) i")
	until(ctx, t, n2, "(SELECT count(*) = 10 FROM public.item)")
	if err := spock.New().Disable(ctx, n2, "n1"); err != nil { // what is there is applied; nothing more comes
		t.Fatal(err)
	}
	before, _ := progress(n2)
	if err := cluster.Node("n2").Stop(ctx, topology.StopKill); err != nil {
		t.Fatal(err)
	}
	if err := cluster.Node("n2").Start(ctx); err != nil {
		t.Fatal(err)
	}
	n2 = connect("n2")
	after, own := progress(n2)
	if after != before {
		t.Errorf("progress %s before the crash, %s after it", before, after)
	}
	t.Logf("the subscription's own origin says %s", own)
}

// TestSavedConflictsOfSingleChanges has n2 discard one change of a transaction and apply the rest.
func TestSavedConflictsOfSingleChanges(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	_, connect := start(ctx, t)
	n1, n2 := connect("n1"), connect("n2")
	saved := func() (all []engine.Conflict) {
		t.Helper()
		origins, err := spock.New().Origins(ctx, n2)
		if err != nil || origins[0] != "n2" || len(origins) != 3 { // both nodes by their ids
			t.Fatal(origins, err)
		}
		if err := spock.New().SavedConflicts(ctx, n2, "public", origins, func(c engine.Conflict) error { all = append(all, c); return nil }); err != nil {
			t.Fatal(err)
		}
		return all
	}
	const large = 1<<62 + 1 // beyond what a float64 holds
	change := func(n int, id int) {
		t.Helper()
		run(ctx, t, n1, fmt.Sprintf("INSERT INTO public.wide VALUES (%d, 1)", id))
		until(ctx, t, n2, fmt.Sprintf("EXISTS (SELECT FROM public.wide WHERE id = %d)", id))
		run(ctx, t, n2, "BEGIN", "SELECT spock.repair_mode(true)", fmt.Sprintf("DELETE FROM public.wide WHERE id = %d", id), "COMMIT")
		run(ctx, t, n1, "BEGIN", fmt.Sprintf("INSERT INTO public.marker VALUES (3, %d)", n), fmt.Sprintf("UPDATE public.wide SET v = %d WHERE id = %d", large, id), "COMMIT",
			fmt.Sprintf("INSERT INTO public.marker VALUES (4, %d)", n))
		until(ctx, t, n2, fmt.Sprintf("EXISTS (SELECT FROM public.marker WHERE (session, n) = (4, %d))", n))
	}
	for _, c := range []*pgx.Conn{n1, n2} {
		run(ctx, t, c, "CREATE TABLE public.wide (id int PRIMARY KEY, v bigint)")
		if err := spock.New().AddTables(ctx, c, []string{"public.wide"}, nil); err != nil {
			t.Fatal(err)
		}
	}
	change(1, 1) // of a transaction that is discarded as a whole nothing is said here
	if all := saved(); len(all) != 0 {
		t.Errorf("%+v", all)
	}
	run(ctx, t, n2, "ALTER SYSTEM SET spock.exception_behaviour = 'discard'", "SELECT pg_reload_conf()")
	until(ctx, t, n2, "current_setting('spock.exception_behaviour') = 'discard'")
	// The apply worker reads its settings anew when it starts.
	if err := engine.Restart(ctx, spock.New(), n2, "n1"); err != nil {
		t.Fatal(err)
	}
	change(2, 2)
	until(ctx, t, n2, "EXISTS (SELECT FROM public.marker WHERE (session, n) = (3, 2))")
	var of2 []engine.Conflict
	for _, c := range saved() {
		if c.Remote.Columns["id"] == 2 {
			of2 = append(of2, c)
		}
	}
	if len(of2) != 1 {
		t.Fatalf("%+v", of2)
	}
	c := of2[0]
	if c.Source != "spock.exception_log" || c.Table != "public.wide" || c.Operation != engine.Update || c.Resolution != engine.Discarded ||
		c.Remote.Columns["v"] != large || c.Remote.Origin != "n1" || c.Remote.CommittedAt.IsZero() || c.GivenUp() != &c.Remote || !strings.Contains(c.Text, "did not find row") {
		t.Errorf("%+v", c)
	}
}

// TestDeltaColumns has two nodes increment one row without knowing of each other.
func TestDeltaColumns(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	_, connect := start(ctx, t)
	nodes := map[string]*pgx.Conn{"n1": connect("n1"), "n2": connect("n2")}
	for _, c := range nodes {
		run(ctx, t, c, `CREATE TABLE public.tally (id int PRIMARY KEY, "The value" bigint NOT NULL, plain bigint NOT NULL)`, "INSERT INTO public.tally VALUES (1, 100, 100)")
		for range 2 { // it may be called again
			if err := spock.New().DeltaColumns(ctx, c, "public.tally", []string{"The value"}); err != nil {
				t.Fatal(err)
			}
		}
		if err := spock.New().AddTables(ctx, c, []string{"public.tally"}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := spock.New().Disable(ctx, nodes["n2"], "n1"); err != nil {
		t.Fatal(err)
	}
	run(ctx, t, nodes["n1"], `UPDATE public.tally SET "The value" = "The value" + 5, plain = plain + 5`)
	run(ctx, t, nodes["n2"], `UPDATE public.tally SET "The value" = "The value" + 30, plain = plain + 30`)
	if err := spock.New().Enable(ctx, nodes["n2"], "n1"); err != nil {
		t.Fatal(err)
	}
	for node, c := range nodes {
		until(ctx, t, c, `"The value" = 135 FROM public.tally`)
		var plain int64
		if err := c.QueryRow(ctx, "SELECT plain FROM public.tally").Scan(&plain); err != nil || plain != 130 {
			t.Errorf("%s: a column that is not applied by differences is %d, the later one is 130 (%v)", node, plain, err)
		}
	}
	if err := spock.New().DeltaColumns(ctx, nodes["n1"], "public.tally", []string{"none"}); err == nil {
		t.Error("a column that is not there can be made one")
	}
}
