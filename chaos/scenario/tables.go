package scenario

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// tableTally is what one table holds: equal contents have equal tallies, in whatever order the rows lie, and a row that
// is there twice counts twice.
type tableTally struct {
	Rows   int64
	Digest string
}

// tally has one tableTally per table.
type tally [len(tables)]tableTally

// readTally reads the connected node's tables.
func readTally(ctx context.Context, c *pgx.Conn) (t tally, err error) {
	parts := make([]string, len(tables))
	for i, name := range tables {
		parts[i] = fmt.Sprintf(`SELECT %d, count(*), coalesce(sum(hashtextextended(t::text, 0)), 0)::text FROM scenario.%s t`, i, name)
	}
	rows, err := c.Query(ctx, strings.Join(parts, " UNION ALL "))
	if err != nil {
		return t, fmt.Errorf("digest the tables: %w", err)
	}
	var i int
	var one tableTally
	if _, err = pgx.ForEachRow(rows, []any{&i, &one.Rows, &one.Digest}, func() error { t[i] = one; return nil }); err != nil {
		return t, fmt.Errorf("digest the tables: %w", err)
	}
	return t, nil
}

// rows of all tables.
func (t tally) rows() (sum int64) {
	for _, one := range t {
		sum += one.Rows
	}
	return sum
}

// differing are the tables in which two nodes differ.
func (t tally) differing(other tally) (names []string) {
	for i, name := range tables {
		if t[i] != other[i] {
			names = append(names, name)
		}
	}
	return names
}

// tallies reads several nodes at once.
func (s *scene) tallies(ctx context.Context, nodes []string) (map[string]tally, error) {
	all := make([]tally, len(nodes))
	err := s.onEach(ctx, nodes, func(ctx context.Context, i int, c *pgx.Conn) (err error) {
		all[i], err = readTally(ctx, c)
		return err
	})
	if err != nil {
		return nil, err
	}
	by := map[string]tally{}
	for i, n := range nodes {
		by[n] = all[i]
	}
	return by, nil
}

// unequal says in which tables nodes differ from the first of them: "item: n2 140 rows, n3 136 rows"; "" if in none.
func unequal(nodes []string, by map[string]tally) string {
	var parts []string
	for i, table := range tables {
		same := true
		counts := make([]string, len(nodes))
		for j, n := range nodes {
			same = same && by[n][i] == by[nodes[0]][i]
			counts[j] = fmt.Sprintf("%s %d rows", n, by[n][i].Rows)
		}
		if !same {
			text := table + ": " + strings.Join(counts, ", ")
			if sameRows(nodes, by, i) {
				text += ", with different contents"
			}
			parts = append(parts, text)
		}
	}
	return strings.Join(parts, "; ")
}

func sameRows(nodes []string, by map[string]tally, table int) bool {
	return !slices.ContainsFunc(nodes, func(n string) bool { return by[n][table].Rows != by[nodes[0]][table].Rows })
}

// equal waits until nodes hold the same: the same rows and digest in every table.
func (s *scene) equal(ctx context.Context, e *evidence, limit time.Duration, nodes []string) (map[string]tally, error) {
	var by map[string]tally
	err := s.await(ctx, limit, nodes, strings.Join(nodes, ", ")+" equal", func(ctx context.Context) (missing string, err error) {
		if by, err = s.tallies(ctx, nodes); err != nil {
			return "", err
		}
		return unequal(nodes, by), nil
	})
	if err != nil {
		return by, err
	}
	for i, name := range tables {
		e.detail("%-8s %6d rows, digest %s on %s", name, by[nodes[0]][i].Rows, by[nodes[0]][i].Digest, strings.Join(nodes, ", "))
	}
	return by, nil
}

// marks are the numbers of one node's transactions that the connected node has, in order.
func marks(ctx context.Context, c *pgx.Conn, of string) ([]int, error) {
	rows, err := c.Query(ctx, `SELECT n FROM scenario.mark WHERE node = $1 ORDER BY n`, of)
	if err != nil {
		return nil, fmt.Errorf("read which transactions of %s are there: %w", of, err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[int])
	if err != nil {
		return nil, fmt.Errorf("read which transactions of %s are there: %w", of, err)
	}
	return all, nil
}

// marksOn is marks on a node by name.
func (s *scene) marksOn(ctx context.Context, node, of string) (all []int, err error) {
	err = s.on(ctx, node, func(c *pgx.Conn) (err error) {
		all, err = marks(ctx, c, of)
		return err
	})
	return all, err
}

// exactlyOnce compares the connected node's marks and events with everything that was written, and says for
// each transaction that is not there exactly once what is wrong with it.
func (s *scene) exactlyOnce(ctx context.Context, c *pgx.Conn) (wrong []string, err error) {
	type key struct {
		node string
		n    int
	}
	type seen struct{ marks, events int }
	there := map[key]seen{}
	rows, err := c.Query(ctx, `SELECT node, n, sum(m)::int, sum(e)::int FROM (
		SELECT node, n, 1 AS m, 0 AS e FROM scenario.mark UNION ALL SELECT node, n, 0, 1 FROM scenario.event) x GROUP BY node, n`)
	if err != nil {
		return nil, fmt.Errorf("count marks and events: %w", err)
	}
	var k key
	var v seen
	if _, err := pgx.ForEachRow(rows, []any{&k.node, &k.n, &v.marks, &v.events}, func() error { there[k] = v; return nil }); err != nil {
		return nil, fmt.Errorf("count marks and events: %w", err)
	}
	for _, w := range s.written {
		have := there[key{w.node, w.n}]
		delete(there, key{w.node, w.n})
		switch {
		case have == seen{}:
			wrong = append(wrong, fmt.Sprintf("%s's transaction %d is lost", w.node, w.n))
		case have.events > w.events || have.marks > 1:
			wrong = append(wrong, fmt.Sprintf("%s's transaction %d is doubled: %d events for %d", w.node, w.n, have.events, w.events))
		case have != seen{1, w.events}:
			wrong = append(wrong, fmt.Sprintf("%s's transaction %d is torn: %d marks, %d events for %d", w.node, w.n, have.marks, have.events, w.events))
		}
	}
	for k := range there {
		wrong = append(wrong, fmt.Sprintf("nobody wrote %s's transaction %d", k.node, k.n))
	}
	return wrong, nil
}

// ranges prints numbers in order: "3-7, 9".
func ranges(all []int) string {
	var b strings.Builder
	for i := 0; i < len(all); {
		j := i
		for j+1 < len(all) && all[j+1] == all[j]+1 {
			j++
		}
		if b.Len() > 0 {
			b.WriteString(", ")
		}
		if fmt.Fprint(&b, all[i]); j > i {
			fmt.Fprintf(&b, "-%d", all[j])
		}
		i = j + 1
	}
	if b.Len() == 0 {
		return "none"
	}
	return b.String()
}
