package checker

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/workload/history"
)

// write is one write of a conflict key, as a version row has it.
type write struct {
	id    opID
	value int64
	prev  opID  // what it overwrote on the node that it was sent to; noRow: there was none
	at    int64 // its commit timestamp, in microseconds
}

// noRow stands for a write where there is none.
var noRow = opID{}

// side is what the survivors of one group have of a conflict key.
type side struct {
	group  *group
	row    *write // nil: there is none
	writes []write
	sound  bool // the row is one that a transaction which is there wrote
}

// judgeConflicts goes through the conflict keys, all groups side by side.
func (w *walker) judgeConflicts(ctx context.Context) error {
	if len(w.groups) == 0 {
		return nil // the round's end is not judged
	}
	sides := make([]side, len(w.groups))
	hot := w.in.run.Workload.Conflict.Hot
	next := int64(1) // the first hot key that has not been judged
	for i := 0; ; i++ {
		if i&0xfff == 0 && ctx.Err() != nil {
			return fmt.Errorf("judging conflicts: %w", ctx.Err())
		}
		key := int64(math.MaxInt64)
		if next <= hot {
			key = next
		}
		for _, g := range w.groups {
			for _, c := range []*cursor{g.conflict, g.versionByKey} {
				if c.row != nil {
					key = min(key, c.row[0])
				}
			}
		}
		if key == math.MaxInt64 {
			return nil
		}
		next = max(next, key+1)
		for i, g := range w.groups {
			w.readSide(&sides[i], g, key, key >= 1 && key <= hot)
		}
		w.judgeKey(key, key >= 1 && key <= hot, sides)
	}
}

// readSide reads what a group has of a key, and judges its row by itself.
func (w *walker) readSide(x *side, g *group, key int64, hot bool) {
	*x = side{group: g, writes: x.writes[:0], sound: true}
	if hot {
		x.writes = append(x.writes, write{id: opID{0, history.InitialWrite}})
	}
	for c := g.versionByKey; c.row != nil && c.row[0] == key; c.next() {
		x.writes = append(x.writes, writeOf(c.row))
	}
	for c := g.conflict; c.row != nil && c.row[0] == key; c.next() {
		if x.row != nil {
			w.conflictRow(x, Doubled, key, "is there twice")
			continue
		}
		row := writeOf(c.row)
		x.row = &row
	}
	if x.row == nil {
		if slices.ContainsFunc(x.writes, func(v write) bool { return v.prev == noRow }) {
			x.sound = false
			w.conflictRow(x, Torn, key, "is not there, though a transaction that inserted it is")
		}
		return
	}
	i := slices.IndexFunc(x.writes, func(v write) bool { return v.id == x.row.id })
	switch {
	case i < 0:
		x.sound = false
		if d := x.row.value - history.LedgerValue(w.seed(), x.row.id.session, x.row.id.n); d >= 1 && d <= history.MaxEffects {
			w.conflictRow(x, Torn, key, "holds a value of a transaction that is not there")
			return
		}
		w.conflictRow(x, Phantom, key, "holds a value that was never written")
	case x.writes[i].value != x.row.value || x.writes[i].prev != x.row.prev:
		x.sound = false
		w.conflictRow(x, Phantom, key, "holds a value that was never written")
	case x.writes[i].at != x.row.at:
		x.sound = false
		w.conflictRow(x, Torn, key, "was committed at another time than the rest of the transaction that wrote it")
	}
}

func writeOf(row []int64) write {
	return write{id: opID{int(row[1]), row[2]}, value: row[3], prev: opID{int(row[4]), row[5]}, at: row[6]}
}

// conflictRow reports a row of table conflict that is wrong by itself.
func (w *walker) conflictRow(x *side, kind Kind, key int64, text string) {
	w.onEach(x.group, kind, rundir.TableConflict, 1, func(node string) example {
		e := example{key: conflictName(key), summary: fmt.Sprintf("%s on %s %s", conflictName(key), node, text), details: w.keyDetails(x.writes)}
		if x.row != nil {
			e.details["holds"], e.details["value"] = w.describe(*x.row), x.row.value
			e.from, e.to = moment(x.row.at), moment(x.row.at)
		}
		return e
	})
}

// keyDetails shows the latest writes of a key, newest first.
func (w *walker) keyDetails(writes []write) map[string]any {
	latest := slices.Clone(writes)
	slices.SortStableFunc(latest, func(a, b write) int { return cmp.Compare(b.at, a.at) })
	var text []string
	for i, v := range latest {
		if i == maxExamples {
			text = append(text, fmt.Sprintf("and %d earlier", len(latest)-i))
			break
		}
		text = append(text, w.describe(v)+", which "+w.overwrote(v))
	}
	return map[string]any{"writes": text}
}
