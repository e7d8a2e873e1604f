package sql_test

import (
	"fmt"
	"testing"
	"time"
)

// BenchmarkRescueReplay replays one-row transactions; tx/s counts the replay alone, from the
// moment that the target's other subscriptions are suspended until everything is flushed.
func BenchmarkRescueReplay(b *testing.B) {
	const transactions = 20000
	m := newMesh(b, 3)
	m.disable("n3", "n1")
	m.run("n1", "SET synchronous_commit = off", fmt.Sprintf(
		"DO $$ BEGIN FOR i IN 1 .. %d LOOP INSERT INTO item VALUES (i, 'a row of ordinary width', i); COMMIT; END LOOP; END $$", transactions))
	m.await("n2", fmt.Sprintf("SELECT count(*) = %d FROM item", transactions))
	m.lose("n1")
	c := m.connect("n3")
	defer c.Close(b.Context())
	for b.Loop() {
		b.StopTimer() // each replay begins with an empty table and the progress of before
		ask := func(q string) {
			if _, err := c.PgConn().Exec(b.Context(), q).ReadAll(); err != nil {
				b.Fatalf("%s: %v", q, err)
			}
		}
		ask("RESET ALL; TRUNCATE item; DELETE FROM spock.recovery_run")
		m.disable("n2", "n1")
		ask("SELECT pg_replication_origin_advance(origin_name, '0/1') FROM spock.recovery_peer WHERE peer_node = 'n1'")
		ask("SELECT spock.recovery_begin('n1', 'n2', NULL, NULL, NULL)")
		stop := m.get("n2", "SELECT pg_current_wal_flush_lsn()")
		has := m.get("n2", "SELECT remote_lsn FROM spock.recovery_progress() WHERE origin_node = 'n1'")
		ask(fmt.Sprintf("UPDATE spock.recovery_run SET stop_position = '%s', source_progress = '%s'", stop, has))
		run := m.get("n3", "SELECT max(id) FROM spock.recovery_run")
		b.StartTimer()
		began := time.Now()
		ask(fmt.Sprintf("CALL spock.recovery_replay(%s, '%s', 20000, NULL)", run, m.dsn("n2")))
		b.ReportMetric(transactions/time.Since(began).Seconds(), "tx/s")
		b.StopTimer()
		if v := m.get("n3", "SELECT (SELECT count(*) FROM item) || ' ' || (SELECT transactions >= 20000 FROM spock.recovery_run)"); v != fmt.Sprintf("%d true", transactions) {
			b.Fatalf("replayed: %s", v)
		}
		b.StartTimer()
	}
}
