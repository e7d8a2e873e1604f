package watch

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/topology"
	"github.com/spockchaos/spockchaos/workload/history"
)

func TestTablesAreTheContract(t *testing.T) {
	var names []string
	for _, x := range tables() {
		names = append(names, x.name)
	}
	if !slices.Equal(names, rundir.Tables) || len(rundir.Tables) != tablesCount {
		t.Errorf("%v, want %v", names, rundir.Tables)
	}
}

func fill(t testing.TB, c *pgx.Conn, order string) {
	t.Helper()
	exec1(t, c, `INSERT INTO chaos.ledger SELECT s, n, s * 1000003 - n * 7919 FROM generate_series(1, 3) s, generate_series(1, 500) n ORDER BY s `+order+`, n `+order)
	exec1(t, c, `INSERT INTO chaos.event SELECT 2, n, q FROM generate_series(1, 20) n, generate_series(0, 2) q ORDER BY n `+order)
	exec1(t, c, `INSERT INTO chaos.event VALUES (2, 5, 1)`) // doubled
	exec1(t, c, `INSERT INTO chaos.bulk SELECT 3, n, q FROM unnest(ARRAY[9, 4]) n, generate_series(0, 99) q ORDER BY n `+order)
	for _, key := range []int64{3<<32 | 1, 1<<32 | 2} {
		exec1(t, c, `INSERT INTO chaos.register VALUES ($1, $2, 8, -5, $3)`, key, key>>32, history.Pad(42, key, 8))
	}
	exec1(t, c, `INSERT INTO chaos.counter SELECT k, k * k FROM generate_series(1, 4) k ORDER BY k `+order)
	exec1(t, c, `INSERT INTO chaos.account SELECT k, 50 FROM generate_series(1, 4) k ORDER BY k `+order)
	exec1(t, c, `INSERT INTO chaos.conflict SELECT k, 0, 1, 0, 0, 0 FROM generate_series(1, 2) k ORDER BY k `+order)
	exec1(t, c, `UPDATE chaos.conflict SET session = 4, n = 7, value = 70, prev_n = 1 WHERE key = 2; INSERT INTO chaos.conflict VALUES (1000, 4, 7, 71, 0, 0);
		INSERT INTO chaos.version VALUES (4, 7, 1000, 71, 0, 0), (4, 7, 2, 70, 0, 1)`) // one transaction
}

func readRows(t testing.TB, path, table string) [][]int64 {
	t.Helper()
	r, err := rundir.OpenRows(path, table)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var all [][]int64
	for {
		row, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, slices.Clone(row))
	}
}

func testSnapshot(t *testing.T, s *server) {
	c := s.database("chaos")
	fill(t, c, "DESC")
	round := t.TempDir()
	dir := filepath.Join(round, rundir.FinalDir, "n2")
	if err := Snapshot(t.Context(), c, dir); err != nil {
		t.Fatal(err)
	}
	var at int64
	if err := c.QueryRow(t.Context(), `SELECT (extract(epoch FROM pg_xact_commit_timestamp(xmin)) * 1000000)::bigint FROM chaos.conflict WHERE key = 1000`).Scan(&at); err != nil {
		t.Fatal(err)
	}
	if off := time.Since(time.UnixMicro(at)); off < 0 || off > time.Minute {
		t.Errorf("a transaction of this test was committed %v ago", off)
	}
	got := map[string][][]int64{}
	for _, table := range rundir.Tables {
		got[table] = readRows(t, rundir.FinalTable(round, "n2", table), table)
	}
	if l := got[rundir.TableLedger]; len(l) != 1500 || !slices.Equal(l[0], []int64{1, 1, 1000003 - 7919}) || !slices.Equal(l[1499], []int64{3, 500, 3000009 - 500*7919}) {
		t.Errorf("ledger: %d rows", len(l))
	}
	if e := got[rundir.TableEvent]; len(e) != 61 || !slices.Equal(e[13], e[14]) || !slices.Equal(e[13], []int64{2, 5, 1}) {
		t.Errorf("event: %v", e)
	}
	for table, want := range map[string][][]int64{
		rundir.TableBulk: {{3, 4, 100, 4950}, {3, 9, 100, 4950}},
		rundir.TableRegister: {
			{1<<32 | 2, 1, 8, -5, history.PadSum(history.Pad(42, 1<<32|2, 8))},
			{3<<32 | 1, 3, 8, -5, history.PadSum(history.Pad(42, 3<<32|1, 8))},
		},
		rundir.TableCounter:      {{1, 1}, {2, 4}, {3, 9}, {4, 16}},
		rundir.TableAccount:      {{1, 50}, {2, 50}, {3, 50}, {4, 50}},
		rundir.TableConflict:     {{1, 0, 1, 0, 0, 0, 0}, {2, 4, 7, 70, 0, 1, at}, {1000, 4, 7, 71, 0, 0, at}},
		rundir.TableVersion:      {{4, 7, 2, 70, 0, 1, at}, {4, 7, 1000, 71, 0, 0, at}},
		rundir.TableVersionByKey: {{2, 4, 7, 70, 0, 1, at}, {1000, 4, 7, 71, 0, 0, at}},
	} {
		if !reflect.DeepEqual(got[table], want) {
			t.Errorf("%s: %v, want %v", table, got[table], want)
		}
	}

	// A NULL is no value of ours: the table is not written, and no half of it is left.
	exec1(t, c, `ALTER TABLE chaos.ledger ALTER value DROP NOT NULL; UPDATE chaos.ledger SET value = NULL WHERE session = 3 AND n = 400`)
	spoiled := filepath.Join(round, "spoiled")
	if err := Snapshot(t.Context(), c, spoiled); err == nil || !strings.Contains(err.Error(), "ledger") {
		t.Errorf("a NULL: %v", err)
	}
	if files, err := os.ReadDir(spoiled); err != nil && !errors.Is(err, fs.ErrNotExist) || len(files) != 0 {
		t.Errorf("left behind: %v %v", files, err)
	}
	if st := c.PgConn().TxStatus(); st != 'I' {
		t.Errorf("the connection is left in transaction status %c", st)
	}
}

func testDigest(t *testing.T, s *server) {
	a, b := s.database("a"), s.database("b")
	fill(t, a, "ASC")
	fill(t, b, "DESC")
	digest := func(c *pgx.Conn) string {
		t.Helper()
		d, err := Digest(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	progress := func(c *pgx.Conn) Progress {
		t.Helper()
		p, err := ReadProgress(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	same := digest(a)
	if digest(b) != same || progress(a) != progress(b) {
		t.Fatal("the order of rows matters")
	}
	if p := progress(a); p[0].Rows != 1500 || p[1].Rows != 61 || p[0].Tally != 3*500*501/2 {
		t.Errorf("progress %+v", p)
	}
	// Every single change shows in the digest.
	for _, change := range []string{
		`UPDATE chaos.ledger SET value = value + 1 WHERE session = 2 AND n = 77`,
		`UPDATE chaos.ledger SET value = value # (1::bigint << 40) # (1 << 8) WHERE session = 2 AND n = 77`,
		`DELETE FROM chaos.ledger WHERE session = 1 AND n = 500`,
		`INSERT INTO chaos.event VALUES (2, 5, 1), (2, 5, 1)`,
		`UPDATE chaos.event SET seq = 9 WHERE n = 20 AND seq = 2`,
		`UPDATE chaos.bulk SET seq = 100 WHERE n = 9 AND seq = 0`,
		`UPDATE chaos.register SET value = 5 WHERE session = 1`,
		`UPDATE chaos.register SET key = key + 1 WHERE session = 1`,
		`UPDATE chaos.register SET pad = pad || 'x' WHERE session = 1`,
		`UPDATE chaos.counter SET value = 17 WHERE key = 4`,
		`UPDATE chaos.conflict SET prev_n = 2 WHERE key = 2`,
		`UPDATE chaos.conflict SET session = 5 WHERE key = 1000`,
		`UPDATE chaos.version SET value = 72 WHERE key = 1000`,
		`UPDATE chaos.account SET balance = balance + CASE id WHEN 1 THEN 1 ELSE -1 END WHERE id IN (1, 2)`,
	} {
		tx, err := b.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		exec1(t, b, change)
		if digest(b) == same {
			t.Errorf("not seen: %s", change)
		}
		if err := tx.Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if digest(b) != same {
		t.Error("the digest is not repeatable")
	}
}

func testWaitEqual(t *testing.T, s *server) {
	a, b := s.database("a"), s.database("b")
	fill(t, a, "ASC")
	fill(t, b, "DESC")
	nodes := []topology.Node{node{name: "n2", dsn: s.dsn("a")}, node{name: "n3", dsn: s.dsn("b")}}
	wait := func(limit time.Duration) (bool, string) {
		t.Helper()
		equal, note, err := WaitEqual(t.Context(), nodes, limit)
		if err != nil {
			t.Fatal(err)
		}
		return equal, note
	}
	if equal, note := wait(30 * time.Second); !equal || note != "" {
		t.Fatalf("equal nodes: %v %q", equal, note)
	}

	exec1(t, b, `DELETE FROM chaos.ledger WHERE session = 1 AND n > 490`)
	exec1(t, b, `UPDATE chaos.counter SET value = 0 WHERE key = 2`)
	equal, note := wait(time.Second)
	if want := "ledger: n2 1500 rows, n3 1490 rows; counter: n2 4 rows, n3 4 rows, with different contents"; equal || note != want {
		t.Errorf("%v %q, want %q", equal, note, want)
	}
	// What counts and sums do not show, the digest does.
	exec1(t, b, `INSERT INTO chaos.ledger SELECT * FROM (SELECT 1, n, 1000003 - n * 7919 FROM generate_series(491, 500) n) x; UPDATE chaos.counter SET value = 4 WHERE key = 2;
		UPDATE chaos.register SET value = 6 WHERE session = 3`)
	equal, note = wait(time.Second)
	if want := "register: n2 2 rows, n3 2 rows, with different contents"; equal || note != want {
		t.Errorf("%v %q, want %q", equal, note, want)
	}

	exec1(t, b, `UPDATE chaos.register SET value = -5 WHERE session = 3; UPDATE chaos.conflict SET n = 6, value = 60 WHERE key = 2`)
	if equal, note := wait(30 * time.Second); !equal {
		t.Errorf("a key that no more transactions will change was waited for: %q", note)
	}
	exec1(t, b, `UPDATE chaos.version SET n = 6 WHERE key = 2`)
	if equal, note := wait(time.Second); equal || note != "version: n2 2 rows, n3 2 rows, with different contents" {
		t.Errorf("%v %q", equal, note)
	}
	exec1(t, b, `UPDATE chaos.version SET n = 7 WHERE key = 2; UPDATE chaos.register SET value = 6 WHERE session = 3`)

	// They become equal while it waits.
	changed := make(chan error, 1)
	time.AfterFunc(300*time.Millisecond, func() {
		_, err := b.Exec(context.Background(), `UPDATE chaos.register SET value = -5 WHERE session = 3`)
		changed <- err
	})
	if equal, note := wait(30 * time.Second); !equal {
		t.Errorf("became equal: %v %q", equal, note)
	}
	if err := <-changed; err != nil {
		t.Fatal(err)
	}

	nodes = append(nodes, node{name: "n4", dsn: "host=127.0.0.1 port=1 user=x dbname=x"})
	if equal, note := wait(500 * time.Millisecond); equal || !strings.HasPrefix(note, "n4 cannot be read: ") {
		t.Errorf("%v %q", equal, note)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if equal, _, err := WaitEqual(ended, nodes, time.Minute); equal || !errors.Is(err, context.Canceled) {
		t.Errorf("%v %v", equal, err)
	}
}

// What a round of unthrottled writes leaves: 300,000 markers and a tenth of that elsewhere.
func BenchmarkData(b *testing.B) {
	s := startServer(b).fresh(b)
	c := s.database("chaos")
	exec1(b, c, `INSERT INTO chaos.ledger SELECT n % 8, n, n * 7919::bigint FROM generate_series(1, 300000) n`)
	exec1(b, c, `INSERT INTO chaos.event SELECT n % 8, n, 0 FROM generate_series(1, 30000) n`)
	exec1(b, c, `INSERT INTO chaos.bulk SELECT 1, 5, n FROM generate_series(1, 30000) n`)
	exec1(b, c, `INSERT INTO chaos.register SELECT n, 1, n, n, (SELECT string_agg(md5(n::text || i), '') FROM generate_series(1, 94) i) FROM generate_series(1, 2000) n`)
	exec1(b, c, `INSERT INTO chaos.counter SELECT n, n FROM generate_series(1, 100) n; INSERT INTO chaos.account SELECT n, n FROM generate_series(1, 100) n`)
	for name, f := range map[string]func() error{
		"digest":   func() error { _, err := Digest(b.Context(), c); return err },
		"progress": func() error { _, err := ReadProgress(b.Context(), c); return err },
		"snapshot": func() error { return Snapshot(b.Context(), c, b.TempDir()) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := f(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
