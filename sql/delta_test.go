package sql_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/spockchaos/spockchaos/topology/engine"
)

// What replication adds to a row, the rescue adds: whatever the target has made of the row meanwhile, while the target writes to it,
// stopped halfway, and called again.
func testRescueDeltas(t *testing.T, m *mesh) {
	if _, ok := m.engine.(engine.DeltaApplier); !ok {
		if v := m.get("n1", "SELECT count(*) FROM spock.recovery_delta_column"); v != "0" {
			t.Errorf("%s columns are applied as differences by an engine that cannot", v)
		}
		t.Skipf("%s applies no column as a difference (SPOCKCHAOS_SPOCK_PG_BIN names no installation of PostgreSQL with Spock)", m.engine.Name())
	}
	fill(m)
	valve := func(on bool) {
		for _, n := range m.names {
			m.run(n, fmt.Sprintf("ALTER TABLE tally ALTER v SET (log_old_value = %t), ALTER w SET (log_old_value = %[1]t)", on))
		}
	}
	m.disable("n3", "n1")
	valve(false)
	m.run("n1", "UPDATE tally SET v = 999, o = 'n1' WHERE id = 8", "UPDATE tally SET id = 109, v = 999 WHERE id = 9")
	m.await("n2", "SELECT v = 999 FROM tally WHERE id = 109")
	valve(true)
	// Twice in one transaction: that Spock has the second one overwrite a newer row is not for the rescue to repeat (docs/findings.md, 9).
	m.run("n1", "BEGIN; UPDATE tally SET v = v + 1000, o = 'n1' WHERE id = 11; UPDATE tally SET v = v - 1 WHERE id = 11; COMMIT")
	m.await("n2", "SELECT v = 1099 FROM tally WHERE id = 11")
	m.disable("n2", "n1") // so that what n2 has is newer than what it then gets, as on n3
	m.run("n1",
		"UPDATE tally SET v = v + 1 WHERE id = 1; UPDATE tally SET v = v + 1 WHERE id = 2",
		"UPDATE tally SET v = v + 10, w = w + 0.25, o = 'n1' WHERE id = 1; UPDATE tally SET v = v + 10, w = w + 0.25, o = 'n1' WHERE id = 2",
		"UPDATE tally SET id = 103, v = v + 1 WHERE id = 3",
		"DELETE FROM tally WHERE id = 4",
		"UPDATE tally SET v = v + 4, o = 'n1' WHERE id = 5",
		"UPDATE tally SET id = 106, v = v + 4 WHERE id = 6",
		"INSERT INTO tally SELECT i, 7, 0.5, 'n1' FROM generate_series(50, 55) i",
		"BEGIN; INSERT INTO tally VALUES (60, 1); UPDATE tally SET v = v + 1 WHERE id = 60; COMMIT",
		"BEGIN; DELETE FROM tally WHERE id = 7; INSERT INTO tally VALUES (7, 5); COMMIT",
		"UPDATE tallyident SET v = v + 2, o = 'n1' WHERE id = 1",
		"UPDATE tallyident SET v = v + 2 WHERE id = 2")

	m.run("n2", "UPDATE tally SET v = v + 20, o = 'n2' WHERE id = 1")
	m.run("n3", "UPDATE tally SET v = v + 300, w = w + 3, o = 'n3' WHERE id IN (2, 10, 11)", "INSERT INTO tally VALUES (52, 30, 0, 'n3')",
		"UPDATE tallyident SET v = v + 30, o = 'n3' WHERE id = 1",
		"BEGIN; SELECT spock.repair_mode(true); DELETE FROM tally WHERE id IN (5, 6); COMMIT", // n3 alone
		"UPDATE tally SET v = v + 300 WHERE id = 4")
	m.await("n2", "SELECT v = 130 FROM tallyident WHERE id = 1")
	m.await("n3", "SELECT v = 120 FROM tally WHERE id = 1")
	m.run("n2", "SELECT spock.recovery_engine_enable('n1')")
	m.lacking("n1", nil)

	middle := m.get("n2", "SELECT spock.recovery_progress_of('n1', true)")
	show := func(node, where string) string {
		return m.get(node, "SELECT string_agg(id || '=' || v || ' ' || w || ' ' || coalesce(o, '-'), ', ' ORDER BY id) FROM tally WHERE "+where)
	}
	const level = "id < 100 AND id NOT IN (5, 6) AND (id < 12 OR id > 20) OR id IN (103, 109)" // what both have, or should have
	want := "1=131 0.25 n2, 2=411 3.25 n3, 7=5 0 -, 8=100 0 n1, 10=400 3 n3, 11=1399 3 n3, 50=7 0.5 n1, 51=7 0.5 n1, 52=37 0.5 n3, 53=7 0.5 n1, 54=7 0.5 n1, 55=7 0.5 n1, " +
		"60=2 0 -, 103=101 0 old, 109=999 0 old"
	if got := show("n2", level); got != want {
		t.Errorf("replication made of it on n2\n%s\nwant\n%s", got, want)
	}

	// Stop halfway, go on, and call again, while n3 adds to the same rows.
	ctx, cancel := context.WithCancel(t.Context())
	added := make(chan int)
	go func() {
		n := 0
		defer func() { added <- n }()
		_ = m.on(t.Context(), "n3", func(_ context.Context, c *pgx.Conn) error {
			for ctx.Err() == nil {
				// In the order of the keys, as n1: no deadlock with the replay.
				if _, err := c.PgConn().Exec(t.Context(), "UPDATE tally SET v = v + 1 WHERE id = 1; UPDATE tally SET v = v + 1 WHERE id = 2").ReadAll(); err != nil {
					t.Errorf("n3: %v", err)
					return err
				}
				n++
			}
			return nil
		})
	}()
	half := m.get("n2", fmt.Sprintf("SELECT '%s'::pg_lsn - 1", middle))
	m.run("n2", m.call("n1", "n2", "n3", fmt.Sprintf(", stop_lsn := '%s'", half)))
	if v := m.get("n3", "SELECT step FROM spock.recovery_run"); v != "stopped" {
		t.Errorf("after the stop: %s", v)
	}
	for range 2 {
		m.run("n2", m.call("n1", "n2", "n3", ""))
	}
	cancel()
	n := <-added
	if n == 0 {
		t.Error("n3 wrote nothing meanwhile")
	}
	m.run("n3", fmt.Sprintf("UPDATE tally SET v = v - %d WHERE id IN (1, 2)", n), "INSERT INTO item VALUES (-3, 'n3 is done')")
	if got := show("n3", level); got != want {
		t.Errorf("the rescue made of it on n3\n%s\nwant\n%s", got, want)
	}
	// Rows that only n3 has deleted count from zero.
	if got := show("n3", "id IN (5, 6, 106)"); got != "5=4 0 n1, 106=4 0 old" {
		t.Errorf("rows that n3 lacked: %s", got)
	}
	for _, node := range []string{"n2", "n3"} {
		if got := m.get(node, "SELECT string_agg(id || '=' || v || ' ' || o, ', ' ORDER BY id) FROM tallyident WHERE id <= 2"); got != "1=132 n3, 2=102 old" {
			t.Errorf("%s: rows whose key is GENERATED ALWAYS: %s", node, got)
		}
	}
	m.await("n2", "SELECT count(*) = 1 FROM item WHERE id = -3") // what n3 added and took back is there
	if got := show("n2", level); got != want {
		t.Errorf("n2 in the end\n%s\nwant\n%s", got, want)
	}
}
