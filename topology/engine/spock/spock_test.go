package spock_test

import (
	"context"
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
