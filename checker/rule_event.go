package checker

import (
	"fmt"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/workload/history"
)

// judgeEvents compares the event rows of one operation with what it wrote. The table
// has no key, so a transaction that was applied twice shows as doubled rows.
func (w *walker) judgeEvents(g *group, s *session, op *history.Op, applied bool) {
	c := g.event
	for c.row != nil && c.row[0] == s.id && c.row[1] < op.N { // numbers begin at 1
		w.phantomRow(g, rundir.TableEvent, opKey(s.header.Session, c.row[1]))
		c.next()
	}
	rows := c.row != nil && c.row[0] == s.id && c.row[1] == op.N
	if len(op.Effects) == 0 && !rows {
		return
	}
	sizes := w.eventSizes[:0] // one insert of rows 0..size-1 each
	var end int64
	for i := range op.Effects {
		if e := &op.Effects[i]; e.Kind == history.EventInsert {
			sizes = append(sizes, e.Value)
			end = max(end, e.Value)
		}
	}
	w.eventSizes = sizes
	if !applied {
		if rows {
			w.eventsUnmarked(g, s, op, end)
		}
		return
	}
	copies := func(seq int64) (n int64) {
		for _, size := range sizes {
			if seq < size {
				n++
			}
		}
		return n
	}
	var next, missing, doubled, strange int64
	for c.row != nil && c.row[0] == s.id && c.row[1] == op.N {
		seq, have := c.row[2], int64(0)
		for ; c.row != nil && c.row[0] == s.id && c.row[1] == op.N && c.row[2] == seq; c.next() {
			have++
		}
		if seq < 0 || seq >= end {
			strange += have
			continue
		}
		for ; next < seq; next++ {
			missing += copies(next)
		}
		next = seq + 1
		if want := copies(seq); have > want {
			doubled += have - want
		} else {
			missing += want - have
		}
	}
	for ; next < end; next++ {
		missing += copies(next)
	}
	if missing|doubled|strange == 0 {
		return
	}
	for kind, x := range map[Kind]struct {
		rows int64
		text string
	}{Torn: {missing, "lacks %d event rows of"}, Doubled: {doubled, "has %d event rows too many of"}, Phantom: {strange, "has %d event rows that were never written of"}} {
		if x.rows > 0 {
			w.onEach(g, kind, rundir.TableEvent, 1, func(node string) example {
				e := opExample(s, op, node+" "+fmt.Sprintf(x.text, x.rows)+" "+opKey(s.header.Session, op.N))
				e.details["rows"] = x.rows
				if kind == Doubled {
					e = w.in.thenDown(e, node, op.InvokedAt)
				}
				return e
			})
		}
	}
}

// eventsUnmarked judges event rows of an operation whose marker is not there.
func (w *walker) eventsUnmarked(g *group, s *session, op *history.Op, end int64) {
	var rows, strange int64
	for c := g.event; c.row != nil && c.row[0] == s.id && c.row[1] == op.N; c.next() {
		if c.row[2] < 0 || c.row[2] >= end {
			strange++
		} else {
			rows++
		}
	}
	if strange > 0 {
		w.phantomRow(g, rundir.TableEvent, opKey(s.header.Session, op.N))
	}
	if rows > 0 {
		w.onEach(g, unmarked(op.Outcome), rundir.TableEvent, 1, func(node string) example {
			e := opExample(s, op, fmt.Sprintf("%s has %d event rows of %s without its ledger row", node, rows, opKey(s.header.Session, op.N)))
			e.details["rows"] = rows
			return e
		})
	}
}

// unmarked is the kind of an effect whose marker is not there: of a failed write it is
// resurrected, of any other a part of a transaction.
func unmarked(o history.Outcome) Kind {
	if o == history.Fail {
		return Resurrected
	}
	return Torn
}

// eventsBeyond judges event rows after the session's last operation.
func (w *walker) eventsBeyond(g *group, s *session) {
	for c := g.event; c.row != nil && c.row[0] == s.id; c.next() {
		w.phantomRow(g, rundir.TableEvent, opKey(s.header.Session, c.row[1]))
	}
}
