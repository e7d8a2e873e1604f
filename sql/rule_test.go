package sql_test

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/spockchaos/spockchaos/sql"
	"github.com/spockchaos/spockchaos/topology/local"
)

// lsn writes a small number as PostgreSQL does.
func lsn(n int) string { return fmt.Sprintf("0/%X", n) }

// testAdvanceRule holds spock.recovery_allows against histories of an origin: whatever it allows, no
// transaction that the peer lacks was committed before it, and it allows everything when the peer lacks nothing.
func testAdvanceRule(t *testing.T, m *mesh) {
	c := m.connect("n1")
	defer c.Close(t.Context())
	rapid.Check(t, func(rt *rapid.T) {
		// The origin's transactions: remote LSN (in its WAL) and local LSN (of the commit here), both rising.
		var remote, local []int
		var samples []string
		r, l := 0, 0
		best := -1 // index of the transaction up to which the best usable sample goes
		n := rapid.IntRange(0, 12).Draw(rt, "transactions")
		need := rapid.IntRange(0, 80).Draw(rt, "need")
		for i := range n {
			r += rapid.IntRange(1, 9).Draw(rt, "remote step")
			l += rapid.IntRange(1, 9).Draw(rt, "local step")
			remote, local = append(remote, r), append(local, l)
			if rapid.Bool().Draw(rt, "sampled") {
				samples = append(samples, fmt.Sprintf("('o', '%s', '%s')", lsn(r), lsn(l)))
				if r <= need {
					best = i
				}
			}
		}
		cap := l + rapid.IntRange(0, 9).Draw(rt, "beyond")
		mine := "NULL"
		if n > 0 {
			mine = "'" + lsn(r) + "'"
		}
		need0 := "'" + lsn(need) + "'"
		if rapid.IntRange(0, 9).Draw(rt, "never connected") == 0 {
			need0, best = "NULL", -1
			need = -1
		}

		setup := "DELETE FROM spock.recovery_sample WHERE origin_node = 'o'"
		if len(samples) > 0 {
			setup += "; INSERT INTO spock.recovery_sample (origin_node, remote_lsn, local_lsn) VALUES " + strings.Join(samples, ",")
		}
		if _, err := c.PgConn().Exec(t.Context(), setup).ReadAll(); err != nil {
			rt.Fatal(err)
		}
		var got *int
		q := fmt.Sprintf("SELECT (spock.recovery_allows('o', %s, %s, '%s') - '0/0')::int", need0, mine, lsn(cap))
		if err := c.QueryRow(t.Context(), q).Scan(&got); err != nil {
			rt.Fatal(err)
		}

		want := -1 // allows nothing
		switch {
		case n == 0 || need >= r:
			want = cap
		case best >= 0:
			want = min(local[best], cap)
		}
		have := -1
		if got != nil {
			have = *got
		}
		if have != want {
			rt.Errorf("%s: %d, the rule says %d", q, have, want)
		}
		for i := range n {
			if remote[i] > need && local[i] <= have {
				rt.Errorf("%s: %d passes transaction %d, committed here at %d, which the peer lacks", q, have, remote[i], local[i])
			}
		}
	})
}

func TestFiles(t *testing.T) {
	files, err := sql.Files("pglogical")
	if err != nil {
		t.Fatal(err)
	}
	if files[0].Name != "00_schema.sql" || files[1].Name != "engine_pglogical.sql" || len(files) < 8 {
		t.Errorf("files: %v", files[:2])
	}
	if want := fmt.Sprintf("spock.recovery_files_version() RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT %d'", sql.Version); !strings.Contains(string(files[0].Text), want) {
		t.Errorf("the files are not of version %d", sql.Version)
	}
	if _, err := sql.Files("no such engine"); err == nil {
		t.Error("an engine without a file has files")
	}
}

func TestRecoverySlotName(t *testing.T) {
	for db, want := range map[string]string{
		"chaos":                 "spk_recovery_chaos",
		"a_1":                   "spk_recovery_a_1",
		"My DB":                 "spk_recovery_my_db_07e449a4",
		strings.Repeat("x", 50): "spk_recovery_" + strings.Repeat("x", 50),
	} {
		if got := sql.RecoverySlotName(db); got != want {
			t.Errorf("%q: %s, want %s", db, got, want)
		}
	}
	if got := sql.RecoverySlotName(strings.Repeat("é", 31)); len(got) > 63 {
		t.Errorf("%s is too long", got)
	}
}

// The Go and the SQL name agree, and PostgreSQL takes it.
func testRecoverySlotName(t *testing.T, m *mesh) {
	for _, db := range []string{local.Database, "My DB", "ÄÖ-x", strings.Repeat("é", 31), strings.Repeat("y", 63), "a'b\"c"} {
		got := m.get("n1", fmt.Sprintf("SELECT spock.recovery_slot_name(%s)", "'"+strings.ReplaceAll(db, "'", "''")+"'"))
		if want := sql.RecoverySlotName(db); got != want {
			t.Errorf("%q: SQL says %s, Go %s", db, got, want)
		}
		if db == local.Database {
			continue // this very slot exists
		}
		m.get("n1", fmt.Sprintf("SELECT slot_name FROM pg_create_physical_replication_slot('%s', false, true)", got))
	}
}
