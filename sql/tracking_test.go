package sql_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/spockchaos/spockchaos/topology"
)

// position is where the recovery slot of a node stands.
func (m *mesh) position(node string) string {
	m.t.Helper()
	return m.get(node, "SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = spock.recovery_slot_name()")
}

func testTracking(t *testing.T, m *mesh) {
	m.run("n1", "INSERT INTO item VALUES (1, 'a')")
	m.level(m.names...) // idle origins do not hold a slot: only n1 wrote anything

	// lag lets n3 miss items id to id+4 of n1, with the manager of n2 running in between.
	lag := func(id int) {
		t.Helper()
		m.disable("n3", "n1")
		m.advance("n2") // a sample from before
		for i := range 5 {
			m.run("n1", fmt.Sprintf("INSERT INTO item VALUES (%d, 'lag')", id+i))
			m.await("n2", fmt.Sprintf("SELECT count(*) = 1 FROM item WHERE id = %d", id+i))
			m.advance("n2")
			m.advance("n1")
		}
	}
	// holds says that n2's slot still covers the first of n1's transactions that n3 lacks.
	holds := func(id int, why string) {
		t.Helper()
		for range 3 {
			m.advance("n2")
		}
		got := m.get("n2", fmt.Sprintf(`SELECT count(*) FROM (SELECT pg_copy_logical_replication_slot(spock.recovery_slot_name()::name, 'look', true, 'test_decoding')) c,
			LATERAL (SELECT data FROM pg_logical_slot_peek_changes(CASE WHEN c IS NOT NULL THEN 'look' END, NULL, NULL) WHERE data LIKE '%%id[integer]:%d %%') d`, id))
		m.get("n2", "SELECT pg_drop_replication_slot('look')")
		if got != "1" {
			t.Errorf("%s: the slot of n2 has passed item %d, which n3 lacks (decoded %s times)", why, id, got)
		}
	}
	lag(100)
	holds(100, "a peer lags")
	if v := m.get("n2", "SELECT held_by FROM spock.get_recovery_slot_status()"); !strings.HasPrefix(v, "n3 for n1") {
		t.Errorf("held by %q", v)
	}
	if v := m.get("n1", "SELECT confirmed_flush_lsn > restart_lsn FROM spock.get_recovery_slot_status()"); v != "true" {
		t.Errorf("status of n1: %s", v)
	}
	m.run("n3", "SELECT spock.recovery_engine_enable('n1')")
	m.level(m.names...)

	t.Run("two managers at once", func(t *testing.T) {
		c := m.connect("n2")
		defer c.Close(t.Context())
		tx, err := c.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(t.Context(), "SELECT spock.advance_recovery_slot_to_min_position()"); err != nil {
			t.Fatal(err)
		}
		a := m.position("n2")
		if b := m.advance("n2"); b != a {
			t.Errorf("the second manager returned %s, the slot is at %s", b, a)
		}
		if err := tx.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
	})

	t.Run("silent peer", func(t *testing.T) {
		c := m.connect("n2")
		defer c.Close(t.Context())
		advance := func() (string, time.Duration) {
			t.Helper()
			began := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			var p string
			if err := c.QueryRow(ctx, "SELECT spock.advance_recovery_slot_to_min_position()::text").Scan(&p); err != nil {
				t.Fatal(err)
			}
			return p, time.Since(began)
		}
		advance() // so that there is a kept connection
		n3 := m.cluster.Node("n3")
		if err := n3.Pause(t.Context()); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := n3.Resume(t.Context()); err != nil {
				t.Error(err)
			}
		}()
		m.run("n2", "INSERT INTO item VALUES (200, 'silent')")
		first, took := advance()
		second, again := advance()
		t.Logf("a run with a silent peer took %v over a kept connection, %v over a new one", took, again)
		if first != second {
			t.Errorf("the slot moved from %s to %s while n3 was silent", first, second)
		}
		if took > 4*time.Second || again > 4*time.Second {
			t.Errorf("runs took %v and %v", took, again)
		}
		if v := m.get("n2", "SELECT held_by FROM spock.get_recovery_slot_status()"); !strings.HasPrefix(v, "n3: ") {
			t.Errorf("held by %q", v)
		}
	})
	m.level(m.names...)

	t.Run("restart of this node", func(t *testing.T) {
		lag(300)
		before := m.position("n2")
		m.stop("n2", topology.StopFast)
		m.start("n2")
		if p := m.position("n2"); p != before {
			t.Errorf("after a clean restart the slot is at %s, before at %s", p, before)
		}
		holds(300, "after a clean restart")
		m.stop("n2", topology.StopKill)
		m.start("n2")
		holds(300, "after a crash")
		m.run("n3", "SELECT spock.recovery_engine_enable('n1')")
		m.level(m.names...)
	})

	t.Run("peer killed", func(t *testing.T) {
		m.run("n1", "INSERT INTO item SELECT i, 'burst' FROM generate_series(1000, 1999) i")
		m.await("n2", "SELECT count(*) = 1000 FROM item WHERE v = 'burst'")
		m.stop("n3", topology.StopKill)
		held := m.advance("n2")
		if again := m.advance("n2"); again != held {
			t.Errorf("the slot moved from %s to %s while n3 was down", held, again)
		}
		m.start("n3")
		m.level(m.names...)
		if v := m.get("n3", "SELECT count(*) FROM item WHERE v = 'burst'"); v != "1000" {
			t.Errorf("n3 has %s rows of 1000, and the slot of n2 has moved on", v)
		}
	})

	t.Run("new table", func(t *testing.T) {
		m.run("n2", "CREATE TABLE late (id int PRIMARY KEY)", "SELECT spock.recovery_engine_add_table('late')")
		m.advance("n2")
		if v := m.get("n2", "SELECT pubname FROM pg_publication_tables WHERE tablename = 'late'"); v != "spock_recovery" {
			t.Errorf("late is in publication %q", v)
		}
		m.run("n2", "ALTER TABLE late DROP CONSTRAINT late_pkey CASCADE")
		m.advance("n2")
		if v := m.get("n2", "SELECT pubname FROM pg_publication_tables WHERE tablename = 'late'"); v != "spock_recovery_insert" {
			t.Errorf("keyless late is in publication %q", v)
		}
		m.run("n2", "INSERT INTO late VALUES (1)", "UPDATE late SET id = 2", "DROP TABLE late CASCADE")
		m.advance("n2")
	})

	t.Run("removed peer", func(t *testing.T) {
		m.lose("n3")
		held := m.advance("n2")
		m.run("n2", "INSERT INTO item VALUES (400, 'x')")
		if again := m.advance("n2"); again != held {
			t.Errorf("the slot moved from %s to %s while n3 was down", held, again)
		}
		for _, n := range []string{"n1", "n2"} {
			m.run(n, "SELECT spock.recovery_engine_drop('n3')")
		}
		m.level("n1", "n2")
	})

	t.Run("missing slot", func(t *testing.T) {
		m.run("n2", "SELECT pg_drop_replication_slot(spock.recovery_slot_name()::name)")
		if _, err := m.tryGet("n2", "SELECT spock.advance_recovery_slot_to_min_position()"); err == nil || !strings.Contains(err.Error(), "does not exist") {
			t.Errorf("advance without a slot: %v", err)
		}
		if v := m.get("n2", "SELECT count(*) FROM pg_replication_slots WHERE slot_name = spock.recovery_slot_name()"); v != "0" {
			t.Error("advance made a slot")
		}
	})
}
