package local_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/spockchaos/spockchaos/topology"
	"github.com/spockchaos/spockchaos/topology/local"
	"github.com/spockchaos/spockchaos/topology/local/localtest"
)

func connect(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = c.Close(ctx)
	})
	return c
}

func skew(t *testing.T, n topology.Node, by time.Duration) {
	t.Helper()
	if err := n.(topology.ClockSkewer).SkewClock(t.Context(), by); err != nil {
		t.Fatal(err)
	}
}

// ahead checks by how much a time on a server differs from the machine's clock; it was taken in query, a moment ago at most.
func ahead(t *testing.T, what string, c *pgx.Conn, want time.Duration, query string, args ...any) {
	t.Helper()
	var at time.Time
	before := time.Now().Round(0)
	if err := c.QueryRow(t.Context(), query, args...).Scan(&at); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if off := at.Sub(before); off < want-time.Millisecond || off > want+time.Since(before)+time.Millisecond {
		t.Errorf("%s is %s ahead, want %s", what, off, want)
	}
}

// Every process of a server has the skewed clock, those that were there before and those that come; timeouts, which the kernel
// measures, take as long as ever; and the offset outlives the server, but not a Restore.
func TestClockSkew(t *testing.T) {
	if testing.Short() {
		t.Skip("starts PostgreSQL servers")
	}
	c := localtest.Start(t, 2, localtest.With(func(o *local.Options) { o.ClockSkew = true }))
	n1, n2 := c.Node("n1"), c.Node("n2")
	old := connect(t, n1.DSN())
	ahead(t, "a clock that nobody touched", old, 0, "SELECT clock_timestamp()")
	// An apply worker was there before; it tells its provider the time with every reply. (A jump backwards ends no connection.)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	skew(t, n2, -40*time.Minute)
	eventually(t, ctx, "an apply worker tells its provider the time that is skewed", func() bool {
		var off float64
		err := old.QueryRow(ctx, `SELECT coalesce(max(extract(epoch FROM reply_time)), 0) - extract(epoch FROM $1::timestamptz) FROM pg_stat_replication`, time.Now()).Scan(&off)
		return err == nil && off > -41*60 && off < -39*60
	})
	skew(t, n2, 0)
	for _, by := range []time.Duration{5 * time.Minute, -5 * time.Minute, 90 * time.Millisecond, -90 * time.Millisecond} {
		t.Run(by.String(), func(t *testing.T) {
			skew(t, n1, by)
			ahead(t, "the clock of a backend from before", old, by, "SELECT clock_timestamp()")
			fresh := connect(t, n1.DSN())
			ahead(t, "the clock of a new backend", fresh, by, "SELECT clock_timestamp()")
			ahead(t, "now()", fresh, by, "SELECT now()")
			ahead(t, "the other node's", connect(t, n2.DSN()), 0, "SELECT clock_timestamp()")
			timeouts(t, n1)
			mapped(t, n1)
		})
	}
	skew(t, n1, 20*time.Minute)
	stamp := connect(t, n1.DSN())
	var xid string
	before := time.Now().Round(0)
	if err := stamp.QueryRow(ctx, "SELECT pg_current_xact_id()::text").Scan(&xid); err != nil {
		t.Fatal(err)
	}
	after := time.Now().Round(0)
	var committed time.Time
	if err := stamp.QueryRow(ctx, "SELECT pg_xact_commit_timestamp($1::text::xid)", xid).Scan(&committed); err != nil {
		t.Fatal(err)
	}
	if at := committed.Add(-20 * time.Minute); at.Before(before.Add(-time.Millisecond)) || at.After(after.Add(time.Millisecond)) {
		t.Errorf("a transaction between %s and %s was committed at %s, 20 minutes ahead", before, after, committed)
	}
	if err := n1.Stop(ctx, topology.StopKill); err != nil {
		t.Fatal(err)
	}
	if err := n1.Start(ctx); err != nil {
		t.Fatal(err)
	}
	again := connect(t, n1.DSN())
	ahead(t, "the clock after kill and start", again, 20*time.Minute, "SELECT clock_timestamp()")
	ahead(t, "the postmaster's own", again, 20*time.Minute, "SELECT clock_timestamp() FROM pg_stat_activity WHERE pg_postmaster_start_time() > $1 LIMIT 1", before.Add(20*time.Minute))
	if err := c.Save(ctx); err != nil {
		t.Fatal(err)
	}
	if err := c.Restore(ctx); err != nil {
		t.Fatal(err)
	}
	restored := connect(t, n1.DSN())
	ahead(t, "the clock after a Restore", restored, 0, "SELECT clock_timestamp()")
}

// timeouts checks that each of PostgreSQL's timeouts comes when it should.
func timeouts(t *testing.T, n topology.Node) {
	t.Helper()
	one, two := connect(t, n.DSN()), connect(t, n.DSN())
	for _, q := range []string{"CREATE TABLE IF NOT EXISTS public.locked (id int)", "BEGIN", "LOCK TABLE public.locked"} {
		if _, err := one.Exec(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ set, query, code string }{
		{"SET statement_timeout = '400ms'", "SELECT pg_sleep(30)", "57014"},
		{"RESET statement_timeout; SET lock_timeout = '400ms'", "SELECT FROM public.locked", "55P03"},
	} {
		if _, err := two.Exec(t.Context(), c.set); err != nil {
			t.Fatal(err)
		}
		took := fails(t, two, c.query, c.code)
		if took < 350*time.Millisecond || took > 3*time.Second {
			t.Errorf("%s: took %s", c.set, took)
		}
	}
	for c, q := range map[*pgx.Conn]string{one: "COMMIT; BEGIN; SELECT pg_advisory_xact_lock(1)", two: "RESET lock_timeout; BEGIN; SELECT pg_advisory_xact_lock(2)"} {
		if _, err := c.Exec(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	waits := make(chan error, 1)
	go func() {
		_, err := one.Exec(t.Context(), "SELECT pg_advisory_xact_lock(2)")
		waits <- err
	}()
	eventually(t, t.Context(), "a session waits", func() bool {
		return value[int](t, t.Context(), n.DSN(), "SELECT count(*)::int FROM pg_locks WHERE locktype = 'advisory' AND objid = 2 AND NOT granted") == 1
	})
	began := time.Now()
	_, err := two.Exec(t.Context(), "SELECT pg_advisory_xact_lock(1)")
	if err == nil { // the other one is the victim
		err = <-waits
	}
	if code(err) != "40P01" || time.Since(began) > 5*time.Second {
		t.Errorf("a deadlock: %v after %s", err, time.Since(began))
	}
}

// fails runs a statement that must fail with a code, and returns how long it took.
func fails(t *testing.T, c *pgx.Conn, query, want string) time.Duration {
	t.Helper()
	began := time.Now()
	_, err := c.Exec(t.Context(), query)
	if code(err) != want {
		t.Errorf("%s: %v, want SQLSTATE %s", query, err, want)
	}
	return time.Since(began)
}

func code(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	return fmt.Sprint(err)
}

// mapped checks that every process of a node, whatever it is, has the offset.
func mapped(t *testing.T, n topology.Node) {
	t.Helper()
	pids, err := n.Processes()
	if err != nil || len(pids) < 6 {
		t.Fatalf("processes %v, %v", pids, err)
	}
	for _, pid := range pids {
		maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
		if errors.Is(err, os.ErrNotExist) {
			continue // it has ended
		}
		if err != nil || len(maps) > 0 && !strings.Contains(string(maps), "/n1/clock\n") {
			t.Errorf("process %d has not mapped its clock (%v)", pid, err)
		}
	}
}

// A cluster without the library says so.
func TestNoClockSkew(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a PostgreSQL server")
	}
	n := localtest.Start(t, 1, localtest.Bare()).Node("n1")
	if err := n.(topology.ClockSkewer).SkewClock(t.Context(), time.Second); err == nil || !strings.Contains(err.Error(), "n1") {
		t.Errorf("a clock was skewed without the means: %v", err)
	}
}
