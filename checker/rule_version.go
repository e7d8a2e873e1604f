package checker

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/workload/history"
)

// judgeVersions compares the version rows of one operation with the conflict keys that it wrote.
func (w *walker) judgeVersions(g *group, s *session, op *history.Op, applied bool) {
	c := g.version
	if c == nil {
		return
	}
	w.versionsBefore(g, s, op.N)
	mine := func() bool { return c.row != nil && c.row[0] == s.id && c.row[1] == op.N }
	if !applied {
		var rows int64
		for ; mine(); c.next() {
			rows++
		}
		if rows > 0 {
			w.onEach(g, unmarked(op.Outcome), rundir.TableVersion, 1, func(node string) example {
				e := opExample(s, op, fmt.Sprintf("%s has %d version rows of %s without its ledger row", node, rows, opKey(s.header.Session, op.N)))
				e.details["rows"] = rows
				return e
			})
		}
		return
	}
	puts := w.puts[:0]
	for _, e := range op.Effects {
		if e.Kind == history.ConflictPut {
			puts = append(puts, e)
		}
	}
	slices.SortStableFunc(puts, func(a, b history.Effect) int { return cmp.Compare(a.Key, b.Key) })
	w.puts = puts
	report := func(kind Kind, key int64, text string) {
		w.onEach(g, kind, rundir.TableVersion, 1, func(node string) example {
			e := opExample(s, op, fmt.Sprintf("%s %s of conflict %d that %s wrote", node, text, key, opKey(s.header.Session, op.N)))
			e.details["conflict"] = key
			return e
		})
	}
	last, started := int64(0), false
	for mine() || len(puts) > 0 {
		switch {
		case !mine() || len(puts) > 0 && puts[0].Key < c.row[2]:
			report(Torn, puts[0].Key, "lacks the version row")
			puts = puts[1:]
			continue
		case len(puts) > 0 && puts[0].Key == c.row[2]:
			if have := c.row[3]; have != puts[0].Value {
				report(Phantom, puts[0].Key, fmt.Sprintf("has the value %d, which nobody wrote, in the version row", have))
			}
			puts = puts[1:]
		case started && c.row[2] == last:
			report(Doubled, last, "has twice the version row")
		default:
			w.phantomRow(g, rundir.TableVersion, opKey(s.header.Session, op.N))
		}
		last, started = c.row[2], true
		c.next()
	}
}

// versionsBefore judges version rows of the session that no operation before number n wrote.
func (w *walker) versionsBefore(g *group, s *session, n int64) {
	for c := g.version; c != nil && c.row != nil && c.row[0] == s.id && c.row[1] < n; c.next() {
		w.phantomRow(g, rundir.TableVersion, opKey(s.header.Session, c.row[1]))
	}
}
