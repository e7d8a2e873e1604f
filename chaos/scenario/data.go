package scenario

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// schemaSQL makes the scenario's tables. Each shows a way in which a rescue can go wrong.
const schemaSQL = `
CREATE SCHEMA scenario;
-- every transaction's own row: says exactly which transactions a node has
CREATE TABLE scenario.mark (node text, n int, PRIMARY KEY (node, n));
-- no key: a transaction that was applied twice shows in doubled rows
CREATE TABLE scenario.event (node text, n int, seq int);
-- updates that leave a toasted column unchanged, deletes
CREATE TABLE scenario.account (id int PRIMARY KEY, owner text, balance numeric(14,2), history text);
ALTER TABLE scenario.account ALTER history SET STORAGE EXTERNAL;
-- keys that change
CREATE TABLE scenario.item (code text, part int, amount int, PRIMARY KEY (code, part));
-- a large transaction
CREATE TABLE scenario.reading (id bigint PRIMARY KEY, value float8, label text);
-- truncated
CREATE TABLE scenario.queue (id int PRIMARY KEY, job text);
`

// The tables, and those of them whose updates and deletes are replicated.
var (
	tables     = [...]string{"account", "event", "item", "mark", "queue", "reading"}
	keyed      = [...]string{"scenario.account", "scenario.item", "scenario.mark", "scenario.queue", "scenario.reading"}
	insertOnly = [...]string{"scenario.event"}
)

// defaultLarge is how many rows the large transaction has: more than the rescue reads at a time.
const defaultLarge = 20500

// kind is what a transaction is there for.
type kind string

const (
	small     kind = "small"
	deletes   kind = "deletes"
	keyChange kind = "key changes"
	large     kind = "large"
	truncate  kind = "truncate"
)

// transaction is one transaction of the scenario, beside its own rows in mark and event.
type transaction struct {
	kind       kind
	statements []string
}

// written is a transaction that was acknowledged.
type written struct {
	node   string
	n      int
	events int   // its rows in scenario.event
	rows   int64 // that it changed, all tables; a truncate counts none
}

// baselineOf is what a node writes first. Each has ids of its own.
func baselineOf(node string, index int) []transaction {
	base := index * 100_000
	own := transaction{small, []string{
		fmt.Sprintf(`INSERT INTO scenario.account SELECT %d + i, '%s', 100, repeat(md5(i::text), 100) FROM generate_series(1, 60) i`, base, node),
		fmt.Sprintf(`INSERT INTO scenario.item SELECT '%s-' || i %% 10, i, i FROM generate_series(1, 40) i`, node),
	}}
	if node != failed {
		return []transaction{own}
	}
	return []transaction{
		own,
		{small, []string{`INSERT INTO scenario.queue SELECT i, 'job ' || i FROM generate_series(1, 300) i`}},
		{large, []string{`INSERT INTO scenario.reading SELECT i, i / 7.0, 'baseline' FROM generate_series(1, 1000) i`}},
	}
}

// overlap are transactions of the failed node that the target still gets although the source's recovery slot
// has not passed them: what a rescue finds in the WAL and has to leave out.
func overlap() []transaction {
	var all []transaction
	for i := 1; i <= 5; i++ {
		all = append(all, transaction{small, []string{
			fmt.Sprintf(`UPDATE scenario.account SET balance = balance - %d WHERE id = %d`, i, i),
			fmt.Sprintf(`INSERT INTO scenario.item VALUES ('overlap', %d, %d)`, i, i),
		}})
	}
	return all
}

// newData is what the failed node writes while the target does not listen. Its large transaction has so many rows.
func newData(rows int) []transaction {
	var all []transaction
	add := func(k kind, statements ...string) { all = append(all, transaction{k, statements}) }
	for i := 1; i <= 16; i++ {
		add(small,
			fmt.Sprintf(`UPDATE scenario.account SET balance = balance + %d WHERE id BETWEEN %d AND %d`, i, i, i+4),
			fmt.Sprintf(`INSERT INTO scenario.item VALUES ('new', %d, %d)`, i, i))
	}
	add(deletes, `DELETE FROM scenario.item WHERE code = 'n1-3'`)
	add(deletes, `DELETE FROM scenario.account WHERE id BETWEEN 51 AND 60`)
	add(deletes, // and one of them comes back
		`INSERT INTO scenario.account VALUES (51, 'again', 51, repeat('again', 600))`)
	add(keyChange, `UPDATE scenario.item SET code = 'moved' WHERE code = 'n1-4'`)
	add(keyChange, `UPDATE scenario.item SET part = part + 1000 WHERE code = 'n1-5'`)
	add(keyChange, // with an unchanged toasted column
		`UPDATE scenario.account SET id = id + 1000 WHERE id BETWEEN 41 AND 45`)
	add(large,
		fmt.Sprintf(`INSERT INTO scenario.reading SELECT 1000 + i, sqrt(i), 'large ' || i FROM generate_series(1, %d) i`, rows),
		`UPDATE scenario.reading SET label = 'in passing' WHERE id <= 500`)
	add(truncate, `TRUNCATE scenario.queue`, `INSERT INTO scenario.queue SELECT i, 'after the truncate' FROM generate_series(1, 20) i`)
	for i := 1; i <= 8; i++ {
		add(small, fmt.Sprintf(`UPDATE scenario.reading SET value = -%d WHERE id %% 2000 = %d`, i, i),
			fmt.Sprintf(`UPDATE scenario.account SET owner = 'late %d' WHERE id = %d`, i, 20+i))
	}
	return all
}

// meanwhile is what a survivor writes after that: its own rows, and two that the failed node has just
// changed. The target does it without knowing those changes: its newer versions must win over what the rescue brings.
func meanwhile(node string) []transaction {
	id := map[string]int{source: 21, target: 1}[node]
	all := []transaction{
		{small, []string{fmt.Sprintf(`INSERT INTO scenario.item SELECT '%s-meanwhile', i, i FROM generate_series(1, 10) i`, node)}},
		{small, []string{fmt.Sprintf(`UPDATE scenario.account SET balance = balance * 2 WHERE owner = '%s'`, node)}},
	}
	if id != 0 {
		all = append(all, transaction{small, []string{fmt.Sprintf(`UPDATE scenario.account SET owner = 'newer, by %s', balance = 0 WHERE id IN (%d, %d)`, node, id, id+1)}})
	}
	return all
}

// write commits transactions on a node, one after the other.
func (s *scene) write(ctx context.Context, node string, all ...transaction) ([]written, error) {
	var done []written
	err := s.on(ctx, node, func(c *pgx.Conn) error {
		for _, t := range all {
			w := written{node: node, n: s.last(node) + 1}
			w.events = 1 + w.n%3
			if err := w.commit(ctx, c, t); err != nil {
				return fmt.Errorf("transaction %d (%s): %w", w.n, t.kind, err)
			}
			s.written = append(s.written, w)
			done = append(done, w)
		}
		return nil
	})
	return done, err
}

func (w *written) commit(ctx context.Context, c *pgx.Conn, t transaction) error {
	return pgx.BeginFunc(ctx, c, func(tx pgx.Tx) error {
		own := []string{
			fmt.Sprintf(`INSERT INTO scenario.mark VALUES ('%s', %d)`, w.node, w.n),
			fmt.Sprintf(`INSERT INTO scenario.event SELECT '%s', %d, i FROM generate_series(1, %d) i`, w.node, w.n, w.events),
		}
		for _, q := range append(own, t.statements...) {
			tag, err := tx.Exec(ctx, q)
			if err != nil {
				return err
			}
			w.rows += tag.RowsAffected()
		}
		return nil
	})
}

// last is the number of a node's last transaction, 0 before the first.
func (s *scene) last(node string) int {
	n := 0
	for _, w := range s.written {
		if w.node == node {
			n = w.n
		}
	}
	return n
}

// rowsOf sums up what transactions changed.
func rowsOf(all []written) (rows int64) {
	for _, w := range all {
		rows += w.rows
	}
	return rows
}
