package checker

import (
	"fmt"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/workload/history"
)

// marker says whether a group's ledger holds the operation's row, and judges the row:
// phantom if its value is not the one that the operation wrote, doubled if it is there twice.
func (w *walker) marker(g *group, s *session, op *history.Op) bool {
	c := g.ledger
	for c.row != nil && c.row[0] == s.id && c.row[1] < op.N { // numbers begin at 1
		w.phantomRow(g, rundir.TableLedger, opKey(s.header.Session, c.row[1]))
		c.next()
	}
	if c.row == nil || c.row[0] != s.id || c.row[1] != op.N {
		return false
	}
	if have, want := c.row[2], history.LedgerValue(s.header.Seed, s.header.Session, op.N); have != want {
		w.onEach(g, Phantom, "ledger", 1, func(node string) example {
			e := opExample(s, op, fmt.Sprintf("%s has %s with the value %d, which nobody wrote", node, opKey(s.header.Session, op.N), have))
			e.details["value"], e.details["written"] = have, want
			return e
		})
	}
	for c.next(); c.row != nil && c.row[0] == s.id && c.row[1] == op.N; c.next() {
		w.onEach(g, Doubled, "ledger", 1, func(node string) example {
			return opExample(s, op, fmt.Sprintf("%s has %s twice", node, opKey(s.header.Session, op.N)))
		})
	}
	return true
}

// markersBeyond judges the ledger rows after the session's last operation: nobody
// wrote them. But if a value is right, it was written by the workload, since
// nobody else can know it: then the history is what is short.
func (w *walker) markersBeyond(g *group, s *session) error {
	for c := g.ledger; c.row != nil && c.row[0] == s.id; c.next() {
		n := c.row[1]
		if n > s.last && c.row[2] == history.LedgerValue(s.header.Seed, s.header.Session, n) {
			return fmt.Errorf("%s: cut short: it ends with operation %d, but %s has its write %d", s.path, s.last, g.nodes[0], n)
		}
		w.phantomRow(g, rundir.TableLedger, opKey(s.header.Session, n))
	}
	return nil
}
