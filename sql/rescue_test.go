package sql_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

// before is on every node when the target begins to lag.
var before = []string{
	`INSERT INTO item SELECT i, 'old ' || i, i FROM generate_series(1, 200) i`,
	`INSERT INTO "Odd ""schema"."Odd table" ("The key", part, p, big) SELECT 'k' || i, i, 1, repeat(md5(i::text), 300) FROM generate_series(1, 20) i`,
	`INSERT INTO ident (v, uq) SELECT 'i' || i, i FROM generate_series(1, 20) i`,
	`INSERT INTO fullid SELECT i, 'f' || i, '{"a": 1}' FROM generate_series(1, 20) i`,
	`INSERT INTO emptied (v) SELECT i FROM generate_series(1, 20) i`,
	`INSERT INTO tally SELECT i, 100, 0, 'old' FROM generate_series(1, 20) i`,
	`INSERT INTO tallyident (v, o) SELECT 100, 'old' FROM generate_series(1, 5) i`,
	`INSERT INTO parent SELECT generate_series(1, 10)`,
}

// lost is what the target lacks.
var lost = []string{
	`INSERT INTO item VALUES (1001, E'quote '' backslash \\ newline \n tab \t unicode ü€😀', NULL), (1002, '', -1), (1003, NULL, 9223372036854775807)`,
	`UPDATE item SET v = v || ' new', n = NULL WHERE id BETWEEN 1 AND 50`,
	`UPDATE item SET id = id + 5000 WHERE id BETWEEN 60 AND 70`,
	`DELETE FROM item WHERE id BETWEEN 100 AND 120`,
	`BEGIN; UPDATE item SET id = -1 WHERE id = 150; UPDATE item SET id = 150 WHERE id = 151; UPDATE item SET id = 151 WHERE id = -1; COMMIT`,
	`BEGIN; INSERT INTO item VALUES (3000, 'a'); UPDATE item SET v = 'b' WHERE id = 3000; DELETE FROM item WHERE id = 3000; INSERT INTO item VALUES (3000, 'c'); COMMIT`,
	`BEGIN; INSERT INTO item VALUES (4000, 'gone'); ROLLBACK`,
	`BEGIN; INSERT INTO item VALUES (4001, 'kept'); SAVEPOINT s; INSERT INTO item VALUES (4002, 'gone'); ROLLBACK TO s; INSERT INTO item VALUES (4003, 'kept'); COMMIT`,
	`INSERT INTO event SELECT i % 3, 'same' FROM generate_series(1, 30) i`,
	`INSERT INTO event VALUES (NULL, NULL), (1, '')`,
	`INSERT INTO "Odd ""schema"."Odd table" VALUES ('it''s \ "odd"', 1, true, -123.450, 1.1, 'NaN', 'ab', '\x00ff5c27', '{"a" :  [1, null]}', '{"b": "\"q\""}',
	   '{1,NULL,3}', ARRAY['a,b', '"', NULL, '\'], '2000-02-29 12:34:56.789012', '1999-12-31 23:59:59.999999+02', '0044-03-15 BC', '23:59:59.5', '1 year 2 days 03:04:05.6',
	   'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '10.0.0.1/24', '(1.5,-2)', '[1,5)', B'10101', B'101', '<a b="c">d</a>', 'so ''so''', 7, repeat('x', 5000))`,
	`UPDATE "Odd ""schema"."Odd table" SET yes = false, money = part WHERE part <= 10`,            // big stays: toasted and unchanged
	`UPDATE "Odd ""schema"."Odd table" SET "The key" = 'new ' || part WHERE part BETWEEN 5 AND 8`, // with a new key
	`UPDATE "Odd ""schema"."Odd table" SET big = repeat('y', 9000) WHERE part = 12`,
	`DELETE FROM "Odd ""schema"."Odd table" WHERE part = 13`,
	`INSERT INTO ident (v, uq) VALUES ('fresh', 100)`,
	`UPDATE ident SET v = 'changed' WHERE id <= 5`,
	`UPDATE ident SET id = DEFAULT WHERE id = 7`,
	`BEGIN; UPDATE ident SET uq = 999 WHERE id = 1; UPDATE ident SET uq = 1 WHERE id = 2; UPDATE ident SET uq = 2 WHERE id = 1; COMMIT`,
	`UPDATE fullid SET v = NULL WHERE id < 5; UPDATE fullid SET id = id + 100 WHERE id = 6; DELETE FROM fullid WHERE id = 8; INSERT INTO fullid VALUES (50, 'x', NULL)`,
	`BEGIN; INSERT INTO parent VALUES (77); INSERT INTO child VALUES (1, 77), (2, 3); COMMIT`,
	`TRUNCATE emptied RESTART IDENTITY`,
	`INSERT INTO emptied (v) VALUES ('after')`,
	`INSERT INTO item SELECT i, 'large', i FROM generate_series(100001, 110000) i`,
	`UPDATE item SET n = n + 1 WHERE id BETWEEN 100001 AND 101000`,
	`UPDATE tally SET v = v + id, w = w - 0.5 WHERE id <= 5; UPDATE tally SET o = 'new' WHERE id = 6; UPDATE tally SET id = 30, v = v + 1 WHERE id = 7; DELETE FROM tally WHERE id = 8`,
	`UPDATE tallyident SET v = v + 1 WHERE id <= 2; UPDATE tallyident SET id = DEFAULT, v = v - 1 WHERE id = 3`,
}

func fill(m *mesh) {
	m.t.Helper()
	m.run("n1", before...)
	for _, n := range m.names[1:] {
		m.await(n, "SELECT count(*) = 10 FROM parent")
	}
	m.level(m.names...)
}

// clean says that no rescue left anything on a survivor.
func (m *mesh) clean(t *testing.T, node, failed string) {
	t.Helper()
	for what, query := range map[string]string{
		"clone slots":              "SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE 'spk_rescue%'",
		"disabled subscriptions":   "SELECT count(*) FROM spock.recovery_peer WHERE NOT enabled",
		"subscriptions to it":      fmt.Sprintf("SELECT count(*) FROM spock.recovery_peer WHERE peer_node = '%s'", failed),
		"slots of it":              fmt.Sprintf(`SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE '%%from\_%s\_%s'`, node, failed),
		"origins of it":            fmt.Sprintf(`SELECT count(*) FROM pg_replication_origin WHERE roname LIKE '%%from\_%s\_%s'`, failed, node),
		"disabled triggers":        "SELECT count(*) FROM pg_trigger WHERE tgenabled = 'D'",
		"suspended, not forgotten": "SELECT count(*) FROM spock.recovery_run WHERE suspended <> '{}'",
	} {
		deadline := time.Now().Add(10 * time.Second) // the slot of a session that has just ended may take a moment
		for m.get(node, query) != "0" {
			if time.Now().After(deadline) {
				t.Errorf("%s: left behind: %s", node, what)
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
}

func testRescue(t *testing.T, m *mesh) {
	fill(m)
	m.lacking("n1", []string{"n3"}, lost...)
	if m.digest("n2") == m.digest("n3") {
		t.Fatal("n3 does not lag: the test tests nothing")
	}
	if v := m.get("n3", "SELECT string_agg(node_name || ' ' || role, ', ') FROM spock.find_rescue_source('n1')"); v != "n2 source, n3 lagging" {
		t.Errorf("find_rescue_source: %s", v)
	}
	if v := m.get("n2", fmt.Sprintf("SELECT count(*) FROM spock.recover_precheck('n1', 'n2', '%s', 'n3', '%s') WHERE status = 'error'", m.dsn("n2"), m.dsn("n3"))); v != "0" {
		t.Errorf("precheck has %s errors", v)
	}
	for _, swap := range []string{m.call("n1", "n3", "n3", ""), strings.Replace(m.call("n1", "n2", "n3", ""), "'n3'", "'n4'", 1)} {
		if err := m.try("n2", swap); err == nil {
			t.Errorf("%s: went through", swap)
		}
	}
	// Stop at a time and at a position before everything: nothing is replayed, nothing finished.
	m.run("n2", m.call("n1", "n2", "n3", ", stop_lsn := '0/1'"))
	m.run("n2", m.call("n1", "n2", "n3", ", stop_timestamp := '2001-01-01'"))
	if v := m.get("n3", "SELECT step || ' ' || transactions FROM spock.recovery_run"); v != "stopped 0" {
		t.Errorf("after a stop before everything: %s", v)
	}
	m.await("n3", "SELECT enabled FROM spock.recovery_peer WHERE peer_node = 'n2'")

	m.run("n2", m.call("n1", "n2", "n3", ", verb := true"))
	want := m.digest("n2")
	if got := m.digest("n3"); got != want {
		t.Errorf("target\n%s\nsource\n%s", got, want)
	}
	if v := m.get("n3", "SELECT last_value || ' ' || is_called FROM emptied_id_seq"); v != "1 false" {
		t.Errorf("sequence of the truncated table: %s", v)
	}
	// Rows keep the failed node's commit time, and the target does not give them to others.
	if v := m.get("n3", "SELECT to_char(pg_xact_commit_timestamp(xmin) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') FROM item WHERE id = 1001"); v !=
		m.get("n2", "SELECT to_char(pg_xact_commit_timestamp(xmin) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') FROM item WHERE id = 1001") {
		t.Errorf("commit timestamp of a replayed row: %s", v)
	}
	m.clean(t, "n2", "n1")
	m.clean(t, "n3", "n1")

	status := m.get("n2", fmt.Sprintf("SELECT transactions || ' ' || step || ' ' || (rows > 11000) FROM spock.recover_status('n1', '%s')", m.dsn("n3")))
	if !strings.HasSuffix(status, "done true") {
		t.Errorf("status: %s", status)
	}
	m.run("n2", m.call("n1", "n2", "n3", ""))
	m.run("n3", m.call("n1", "n2", "n3", ", verb := true"))
	if again := m.get("n3", "SELECT transactions || ' ' || step || ' ' || (rows > 11000) FROM spock.recover_status('n1')"); again != status {
		t.Errorf("the second call changed the run: %s", again)
	}
	if got := m.digest("n3"); got != want {
		t.Errorf("the second call changed data\n%s\n%s", got, want)
	}
	// Replication between the survivors goes on, and the slots are not held by the lost node.
	m.run("n3", "INSERT INTO item VALUES (-3, 'n3')")
	m.run("n2", "INSERT INTO item VALUES (-2, 'n2')")
	m.await("n2", "SELECT count(*) = 1 FROM item WHERE id = -3")
	m.await("n3", "SELECT count(*) = 1 FROM item WHERE id = -2")
	m.level("n2", "n3")
}

// The target's own newer rows win, but over deletes; rows in the way of an insert go if they are older.
func testRescueConflicts(t *testing.T, m *mesh) {
	fill(m)
	m.disable("n3", "n1")
	m.run("n1", "UPDATE item SET v = 'n1' WHERE id <= 4", "DELETE FROM item WHERE id = 5", "INSERT INTO item VALUES (7001, 'n1'), (7002, 'n1')",
		"UPDATE item SET id = 7100 WHERE id = 6", "INSERT INTO ident (v, uq) VALUES ('n1', 500)")
	m.run("n1", "UPDATE item SET v = 'not this' WHERE id = 9")
	m.run("n1", "UPDATE item SET v = 'but this' WHERE id = 10")
	m.await("n2", "SELECT v = 'but this' FROM item WHERE id = 10")
	for _, n := range []string{"n2", "n3"} {
		m.disable(n, map[string]string{"n2": "n3", "n3": "n2"}[n]) // the changes here are the target's alone
	}
	m.run("n3", "UPDATE item SET v = 'newer' WHERE id IN (1, 5)", "INSERT INTO item VALUES (7001, 'newer')", "DELETE FROM item WHERE id = 2",
		"INSERT INTO ident (id, v, uq) OVERRIDING SYSTEM VALUE VALUES (9999, 'newer', 500)")
	m.lacking("n1", nil)
	m.run("n3", m.call("n1", "n2", "n3", ""))
	got := m.get("n3", "SELECT string_agg(id || '=' || v, ' ' ORDER BY id) FROM item WHERE id IN (1, 2, 3, 5, 6, 7001, 7002, 7100)")
	want := "1=newer 2=n1 3=n1 7001=newer 7002=n1 7100=old 6"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if v := m.get("n3", "SELECT string_agg(v, ' ') FROM ident WHERE uq = 500"); v != "newer" {
		t.Errorf("row in the way of a unique column: %s", v)
	}
	if v := m.get("n3", "SELECT kept = 3 FROM spock.recovery_run"); v != "true" {
		t.Errorf("kept: %s", m.get("n3", "SELECT kept FROM spock.recovery_run"))
	}
}

// Where timestamps do not decide, the rescue does on the target what the engine would have done there: first the engine meets six rows, then the rescue
// six others of the same making.
func testRescueResolvesAsTheEngine(t *testing.T, m *mesh) {
	fill(m)
	m.disable("n3", "n2")
	at := func(id int) string {
		return m.get("n2", fmt.Sprintf("SELECT to_char(pg_xact_commit_timestamp(xmin) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US+00') FROM item WHERE id = %d", id))
	}
	// as makes a row of n3 one that came from a peer, without moving its progress. An origin that has none would leave the time out.
	as := func(peer, committed, statement string) {
		m.run("n3", fmt.Sprintf("SELECT pg_replication_origin_session_setup(commit_origin) FROM spock.recovery_peer WHERE peer_node = '%s'", peer),
			fmt.Sprintf("BEGIN; SELECT pg_replication_origin_xact_setup(coalesce(pg_replication_origin_session_progress(false), '0/1'), '%s'); %s; COMMIT", committed, statement),
			"SELECT pg_replication_origin_session_reset()") // the next session may be there before this one's end
	}
	const later = "2100-01-01"
	// conflicts leaves six changes of n1 that n3 lacks, and makes the rows that they meet there.
	conflicts := func(first int) {
		m.disable("n3", "n1")
		update := func(v string, i int) string { return fmt.Sprintf("UPDATE item SET v = '%s' WHERE id = %d", v, first+i) }
		for i := range 5 {
			m.run("n1", update("n1", i))
		}
		m.run("n1", fmt.Sprintf("DELETE FROM item WHERE id = %d", first+5))
		m.await("n2", fmt.Sprintf("SELECT count(*) = 0 FROM item WHERE id = %d", first+5))
		as("n1", later, update("own", 0))       // n1's clock was set back before its update
		as("n2", at(first+1), update("tie", 1)) // the same microsecond
		as("n2", later, update("newer", 2))     // n2's clock is ahead
		as("n2", "2001-01-01", update("older", 3))
		as("n1", at(first+4), update("own tie", 4))
		as("n2", later, update("newer", 5)) // both engines delete it all the same
	}
	outcome := func(first int) string {
		return m.get("n3", fmt.Sprintf("SELECT string_agg((id - %[1]d) || '=' || v, ' ' ORDER BY id) FROM item WHERE id BETWEEN %[1]d AND %[1]d + 5", first))
	}
	conflicts(1)
	m.run("n1", "INSERT INTO item VALUES (1000000000, 'behind them')")
	m.run("n3", "SELECT spock.recovery_engine_enable('n1')")
	m.await("n3", "SELECT count(*) = 1 FROM item WHERE id = 1000000000")
	want := outcome(1)
	t.Logf("the engine has made of them %s", want)
	if !strings.Contains(want, "2=newer 3=n1") || strings.Contains(want, "5=") {
		t.Fatalf("the engine has not met what it should: %s", want)
	}
	conflicts(11)
	m.lacking("n1", nil)
	m.run("n3", m.call("n1", "n2", "n3", ""))
	if got := outcome(11); got != want {
		t.Errorf("the rescue  %s\nthe engine  %s", got, want)
	}
}

// A subscription that is suspended in the middle of a transaction has all of it when it goes on. Spock would leave it out if its
// worker were signalled (docs/findings.md, 5).
func testSuspendInTheMiddle(t *testing.T, m *mesh) {
	const rows = 400000
	worker := "SELECT %s FROM pg_stat_activity WHERE pid = (SELECT pid FROM spock.recovery_apply_worker WHERE peer_node = 'n2')"
	c := m.connect("n1")
	defer closeConn(c)
	do := func(q string) {
		if _, err := c.Exec(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	do(fmt.Sprintf("SELECT spock.recovery_open('spk_target', '%s', false)", m.dsn("n3")))
	m.run("n2", fmt.Sprintf("INSERT INTO item SELECT i, 'large', i FROM generate_series(1, %d) i", rows), "INSERT INTO item VALUES (0, 'behind it')")
	m.await("n3", fmt.Sprintf(worker, "backend_xid IS NOT NULL"))
	do("SELECT spock.recovery_stop_peer('spk_target', 'n2')")
	if v := m.get("n3", "SELECT count(*) FROM item"); v != "0" {
		t.Fatalf("it was not suspended in the middle: %s rows are there", v)
	}
	m.run("n3", "SELECT spock.recovery_engine_enable('n2')")
	m.await("n3", "SELECT count(*) = 1 FROM item WHERE id = 0")
	if v := m.get("n3", "SELECT count(*) FROM item"); v != fmt.Sprint(rows+1) {
		t.Errorf("%s rows are there, want %d", v, rows+1)
	}
}

// skip_lsn leaves out one transaction, stop_lsn ends after one.
func testRescueSkipAndStop(t *testing.T, m *mesh) {
	fill(m)
	m.disable("n3", "n1")
	var at []string
	for i := 1; i <= 4; i++ {
		m.run("n1", fmt.Sprintf("UPDATE item SET v = 'step %d' WHERE id = %d", i, i))
		m.await("n2", fmt.Sprintf("SELECT v = 'step %d' FROM item WHERE id = %d", i, i))
		at = append(at, m.get("n2", "SELECT remote_lsn FROM spock.recovery_progress() WHERE origin_node = 'n1'"))
	}
	m.lacking("n1", nil)
	show := func() string {
		return m.get("n3", "SELECT string_agg(v, ', ' ORDER BY id) FROM item WHERE id <= 4")
	}
	m.run("n2", m.call("n1", "n2", "n3", fmt.Sprintf(", stop_lsn := '%s', skip_lsn := '%s'", at[2], at[1])))
	if v := show(); v != "step 1, old 2, step 3, old 4" {
		t.Errorf("after the stop: %s", v)
	}
	m.run("n2", m.call("n1", "n2", "n3", ""))
	if v := show(); v != "step 1, old 2, step 3, step 4" {
		t.Errorf("at the end: %s", v)
	}
	if v := m.get("n3", "SELECT skipped || ' ' || step FROM spock.recovery_run"); v != "1 done" {
		t.Errorf("run: %s", v)
	}
}

// testRescueInterrupted kills the coordinator's or the target's session at every step of one rescue, then lets it end.
func testRescueInterrupted(t *testing.T, m *mesh) {
	fill(m)
	m.lacking("n1", []string{"n3"}, append(lost, many...)...)
	// hold(lock) makes a step wait while the test has that lock.
	m.run("n3", `CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
	    IF current_setting('application_name') = 'spock_recovery' AND (TG_TABLE_NAME <> 'recovery_run' OR to_jsonb(NEW) ->> 'step' = TG_ARGV[0]) THEN
	        PERFORM pg_advisory_xact_lock(4711);
	    END IF;
	    RETURN NULL;
	END $$`)
	holdAt := func(name, table, when, arg string) []string {
		return []string{fmt.Sprintf("CREATE TRIGGER %s AFTER INSERT OR UPDATE ON %s FOR EACH ROW %s EXECUTE FUNCTION hold('%s')", name, table, when, arg),
			fmt.Sprintf("ALTER TABLE %s ENABLE ALWAYS TRIGGER %s", table, name)}
	}
	points := map[string][]string{
		"started":   holdAt("h", "spock.recovery_run", "", "started"),
		"suspended": holdAt("h", "spock.recovery_run", "", "suspended"),
		"replaying": holdAt("h", "spock.recovery_run", "", "replaying"),
		"row":       holdAt("h", "item", "WHEN (NEW.id = 7100150)", ""),
		"large":     holdAt("h", "item", "WHEN (NEW.id = 105000)", ""),
		"keyless":   holdAt("h", "event", "", ""),
		"last":      holdAt("h", "item", "WHEN (NEW.id = 2000000000)", ""),
		"replayed":  holdAt("h", "spock.recovery_run", "", "replayed"),
		"done":      holdAt("h", "spock.recovery_run", "", "done"),
	}
	for _, point := range []string{"started", "suspended", "replaying", "keyless", "large", "row", "last", "replayed", "done"} {
		for _, victim := range []string{"coordinator", "target"} {
			table := strings.Fields(strings.SplitN(points[point][0], " ON ", 2)[1])[0]
			m.run("n3", points[point]...)
			end := interrupt(t, m, victim)
			run := m.get("n3", "SELECT step || ' ' || transactions FROM spock.recovery_run")
			t.Logf("%s killed at %s; run %s", victim, point, run)
			switch {
			case !end.reached:
				t.Errorf("%s was never reached for the %s: %v", point, victim, end.err)
			case point == "done" && victim == "target": // the rescue is complete; tidying up was interrupted
				if end.err != nil || len(end.warnings) != 1 || !strings.HasPrefix(end.warnings[0], "n1 is not removed from every survivor: n3: ") {
					t.Errorf("the target killed while n1 was removed: %v, warnings %q", end.err, end.warnings)
				}
			case end.err == nil:
				t.Errorf("%s: the rescue succeeded although its %s was killed", point, victim)
			}
			if point == "done" {
				if !strings.HasPrefix(run, "replayed ") {
					t.Errorf("%s killed at done: run %s", victim, run)
				}
				m.keeps(t, "n1")
			}
			m.run("n3", fmt.Sprintf("DROP TRIGGER h ON %s", table))
		}
	}
	breakOffRemoval(t, m, "n3", "n1")
	if warnings, err := m.rescue("n2", m.call("n1", "n2", "n3", "")); err != nil || len(warnings) > 0 {
		t.Errorf("the last call: %v, warnings %q", err, warnings)
	}
	if v := m.get("n3", "SELECT step FROM spock.recovery_run"); v != "done" {
		t.Errorf("after the last call: %s", v)
	}
	if got, want := m.digest("n3"), m.digest("n2"); got != want {
		t.Errorf("target\n%s\nsource\n%s", got, want)
	}
	m.clean(t, "n2", "n1")
	m.clean(t, "n3", "n1")
}

// keeps says that every survivor still has its subscription to the failed node.
func (m *mesh) keeps(t *testing.T, failed string) {
	t.Helper()
	for _, n := range m.names {
		if n != failed && m.get(n, fmt.Sprintf("SELECT count(*) FROM spock.recovery_peer WHERE peer_node = '%s'", failed)) != "1" {
			t.Errorf("%s has no subscription to %s any more", n, failed)
		}
	}
}

// breakOffRemoval leaves a node as an interruption at the very end of its removal of the failed node does: the
// subscription is there, the progress of its origin is not.
func breakOffRemoval(t *testing.T, m *mesh, node, failed string) {
	t.Helper()
	m.disable(node, failed)
	m.run(node, fmt.Sprintf("SELECT spock.recovery_prepare_leave('%s')", failed))
	m.run(node, "BEGIN", fmt.Sprintf("SELECT spock.recovery_leave('%s')", failed), "ROLLBACK")
	if v := m.get(node, fmt.Sprintf("SELECT pg_replication_origin_progress(origin_name, false) FROM spock.recovery_peer WHERE peer_node = '%s'", failed)); v != "" {
		t.Fatalf("%s has progress %s for %s: nothing was broken off", node, v, failed)
	}
}

var many = []string{
	`DO $$ BEGIN FOR i IN 7100001 .. 7100300 LOOP INSERT INTO item VALUES (i, 'one'); INSERT INTO event VALUES (i, 'one'); COMMIT; END LOOP; END $$`,
}

// ending is how an interrupted CALL ended.
type ending struct {
	reached  bool // the target came to wait
	warnings []string
	err      error
}

// interrupt starts the rescue and kills the victim's session when the target waits for lock 4711.
func interrupt(t *testing.T, m *mesh, victim string) ending {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	lock := m.connect("n3")
	defer closeConn(lock)
	if _, err := lock.Exec(ctx, "SELECT pg_advisory_lock(4711)"); err != nil {
		t.Fatal(err)
	}
	ended := make(chan ending, 1)
	go func() {
		var e ending
		e.warnings, e.err = m.rescue("n2", m.call("n1", "n2", "n3", ""))
		ended <- e
	}()
	for {
		select {
		case e := <-ended:
			return e
		case <-time.After(30 * time.Millisecond):
		}
		var waits int32
		err := lock.QueryRow(ctx, "SELECT coalesce(max(pid), 0) FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711 AND NOT granted").Scan(&waits)
		if err != nil {
			t.Fatal(err)
		}
		if waits == 0 {
			continue
		}
		if victim == "target" {
			m.run("n3", fmt.Sprintf("SELECT pg_terminate_backend(%d)", waits))
		} else {
			m.run("n2", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'CALL spock.recovery(%'")
		}
		e := <-ended
		e.reached = true
		// With the lock, until the session on the target is gone: it must not go on from here.
		m.await("n3", "SELECT count(*) = 0 FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711 AND NOT granted")
		return e
	}
}

// Two targets lag, differently; a fourth survivor lacks nothing.
func TestRescueTwoTargets(t *testing.T) {
	m := newMesh(t, 5)
	fill(m)
	m.disable("n3", "n1")
	m.run("n1", "UPDATE item SET v = 'first' WHERE id <= 20")
	m.await("n4", "SELECT v = 'first' FROM item WHERE id = 20")
	m.lacking("n1", []string{"n4"}, lost...)
	if warnings, err := m.rescue("n5", m.call("n1", "n2", "n3", "")); err != nil || len(warnings) > 0 {
		t.Errorf("rescue of n3: %v, warnings %q", err, warnings)
	}
	// The source's origin is needed to decode; the others' slots must not pass what n4 lacks, should the source be lost too.
	m.keeps(t, "n1")

	m.refuse("n2", "n5", true) // the source cannot ask n5
	if warnings, err := m.rescue("n5", m.call("n1", "n2", "n4", "")); err != nil || len(warnings) != 1 || !strings.HasSuffix(warnings[0], "no answer from n5") {
		t.Errorf("rescue of n4 while n5 does not answer the source: %v, warnings %q", err, warnings)
	}
	m.keeps(t, "n1")
	m.refuse("n2", "n5", false)

	breakOffRemoval(t, m, "n5", "n1")
	if warnings, err := m.rescue("n5", m.call("n1", "n2", "n4", "")); err != nil || len(warnings) > 0 {
		t.Errorf("the last call: %v, warnings %q", err, warnings)
	}
	want := m.digest("n2")
	for _, n := range m.names[1:] {
		if got := m.digest(n); got != want {
			t.Errorf("%s\n%s\nn2\n%s", n, got, want)
		}
		m.clean(t, n, "n1")
	}
	m.level(m.names[1:]...)
}

// pglogical cannot apply to a table with REPLICA IDENTITY FULL, other engines can: here the
// failed node's transactions are made on the source by a session with its origin.
func testRescueIdentityFull(t *testing.T, m *mesh) {
	m.run("n1", before...)
	m.run("n1", `INSERT INTO nokey SELECT i % 5, '{"b":  1}', 'x', i % 2 = 0 FROM generate_series(1, 20) i`)
	for _, n := range []string{"n2", "n3"} {
		m.await(n, "SELECT count(*) = 20 FROM nokey")
	}
	m.level(m.names...)
	m.disable("n3", "n1")
	m.disable("n2", "n1")
	m.lose("n1")
	for _, n := range []string{"n2", "n3"} {
		m.run(n, "ALTER TABLE fullid REPLICA IDENTITY FULL", "ALTER TABLE nokey REPLICA IDENTITY FULL", "SELECT spock.recovery_sync_publications()")
	}
	session := []string{"SET session_replication_role = replica",
		"SELECT pg_replication_origin_advance(commit_origin, spock.recovery_progress_of('n1', true)) FROM spock.recovery_peer WHERE peer_node = 'n1'",
		"SELECT pg_replication_origin_session_setup(commit_origin) FROM spock.recovery_peer WHERE peer_node = 'n1'"}
	for _, q := range []string{
		"UPDATE fullid SET v = NULL WHERE id < 5", "UPDATE fullid SET id = id + 100, j = '[]' WHERE id = 6", "DELETE FROM fullid WHERE id = 8",
		"UPDATE nokey SET ch = 'new' WHERE a = 3", "DELETE FROM nokey WHERE ctid = (SELECT min(ctid) FROM nokey WHERE a = 2)", "UPDATE nokey SET a = NULL, j = NULL, yes = NULL WHERE a = 4",
		"DELETE FROM nokey WHERE a IS NULL AND ctid = (SELECT min(ctid) FROM nokey WHERE a IS NULL)", "UPDATE nokey SET yes = true WHERE a IS NULL", "TRUNCATE emptied",
	} {
		session = append(session, "BEGIN", "SELECT pg_replication_origin_xact_setup(pg_replication_origin_session_progress(false) + 1000, now())", q, "COMMIT")
	}
	m.run("n2", session...)
	m.run("n3", m.call("n1", "n2", "n3", ""))
	if got, want := m.digest("n3"), m.digest("n2"); got != want {
		t.Errorf("target\n%s\nsource\n%s", got, want)
	}
	if v := m.get("n3", "SELECT transactions || ' ' || step FROM spock.recovery_run"); v != "9 done" {
		t.Errorf("run: %s", v)
	}
}
