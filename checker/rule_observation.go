package checker

import (
	"fmt"
	"slices"
	"time"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/workload/history"
)

// maxTolerated bounds the list of writes of one observation that may be visible or not.
// Beyond it their sum is no longer checked, only their number.
const maxTolerated = 1024

// observing follows the observations of one session through its history.
type observing struct {
	rest []observed // not begun, by After
	open []openObservation
}

// openObservation is an observation of which operation Max is still to come.
type openObservation struct {
	observed
	must, mustSum int64   // writes in (After, Max] that must be visible
	may, maySum   int64   // writes that may be
	mayList       []int64 // rising, the first maxTolerated
}

func (o *observing) begin(all []observed) { o.rest, o.open = all, o.open[:0] }

// observe gives an operation to the observations that cover it, and judges those that end with it.
//
// Visible must be: acknowledged writes, and those of unknown outcome that a survivor
// has at the end: a session waits until its old transaction is decided, so n was
// committed, if ever, before n+1 was sent, and every node shows a session's
// writes in that order. May be: writes of unknown outcome that no survivor has (or of which
// the end is not known). Must not: failed ones.
func (w *walker) observe(s *session, op *history.Op, applied uint64) {
	o := &w.observing
	for len(o.rest) > 0 && o.rest[0].After < op.N {
		if x := o.rest[0]; x.Max >= op.N {
			o.open = append(o.open, openObservation{observed: x})
		} else {
			w.unwritten(s, x) // Max ≤ After, with rows
		}
		o.rest = o.rest[1:]
	}
	if len(o.open) > 0 {
		keep := o.open[:0]
		for _, x := range o.open {
			switch {
			case op.Outcome == history.OK, op.Outcome == history.Unknown && applied != 0:
				x.must++
				x.mustSum += op.N
			case op.Outcome == history.Unknown:
				x.may++
				x.maySum += op.N
				if len(x.mayList) < maxTolerated {
					x.mayList = append(x.mayList, op.N)
				}
			}
			if op.N < x.Max {
				keep = append(keep, x)
				continue
			}
			w.judgeObservation(s, &x, op)
		}
		o.open = keep
	}
	if w.all != 0 {
		w.absentRetire(s, o.covered(op.N))
	}
}

// covered is the number up to which no open observation covers anything.
func (o *observing) covered(n int64) int64 {
	for i := range o.open {
		n = min(n, o.open[i].After)
	}
	return n
}

// observeEnd judges the observations of writes after the session's last.
func (w *walker) observeEnd(s *session) {
	for _, x := range w.observing.open {
		w.unwritten(s, x.observed)
	}
	for _, x := range w.observing.rest {
		w.unwritten(s, x)
	}
	w.observing.begin(nil)
}

func (w *walker) unwritten(s *session, x observed) {
	w.observationFinding(Phantom, s.header.Session, x, 1,
		fmt.Sprintf("shows write %d; the session sent %d in all", x.Max, s.last), time.Time{}, nil)
}

// unknownSessionsObserved judges observations of sessions that have no history.
func (w *walker) unknownSessionsObserved() {
	for id, all := range w.in.observed {
		if !slices.ContainsFunc(w.in.histories, func(h historyFile) bool { return h.header.Session == id }) {
			for _, x := range all {
				w.observationFinding(Phantom, id, x, 1, "shows writes of a session that never was", time.Time{}, nil)
			}
		}
	}
}

// judgeObservation judges an observation that ends with op.
func (w *walker) judgeObservation(s *session, x *openObservation, op *history.Op) {
	o := w.in.observations[x.observation]
	extra, extraSum := x.Count-x.must, x.Sum-x.mustSum
	report := func(kind Kind, count int64, text string) {
		w.observationFinding(kind, s.header.Session, x.observed, count, text, op.InvokedAt, nil)
	}
	switch {
	case op.Outcome == history.Fail:
		report(Phantom, 1, fmt.Sprintf("shows write %d, which failed", op.N))
	case op.InvokedAt.After(o.End):
		report(Phantom, 1, fmt.Sprintf("shows write %d, which was sent %v after the snapshot", op.N, op.InvokedAt.Sub(o.End)))
	case extra < 0:
		text := fmt.Sprintf("shows write %d but not all before it: %d of (%d, %d] are missing", op.N, -extra, x.After, x.Max)
		w.observationFinding(OutOfOrder, s.header.Session, x.observed, -extra, text, op.InvokedAt, w.in.givenUpIn(o.Node, s.header.Session, x.After, x.Max))
	case extra > x.may:
		report(Phantom, extra-x.may, fmt.Sprintf("shows %d rows of (%d, %d]; at most %d can have been written", x.Count, x.After, x.Max, x.must+x.may))
	case !x.possible(extra, extraSum):
		report(OutOfOrder, 1, fmt.Sprintf("shows as many rows of (%d, %d] as it may, but not the ones that must be there: the sum of their numbers is %d", x.After, x.Max, x.Sum))
	case o.Durable && w.in.survivor(o.Node) && w.all != 0:
		w.absentSeen(x.After, x.Max, x.observation, func(a absentOp) bool {
			return a.ok || extra == x.may || extra == 1 && a.n == extraSum
		})
	}
}

// possible says whether extra of the writes that may be visible can have the numbers' sum extraSum.
func (x *openObservation) possible(extra, extraSum int64) bool {
	switch {
	case extra == 0:
		return extraSum == 0
	case extra == x.may:
		return extraSum == x.maySum
	case x.may > int64(len(x.mayList)):
		return true // not all are known
	case extra == 1:
		_, found := slices.BinarySearch(x.mayList, extraSum)
		return found
	}
	var low, high int64
	for i := range extra {
		low += x.mayList[i]
		high += x.mayList[x.may-1-i]
	}
	return low <= extraSum && extraSum <= high
}

// observationFinding reports an observation; givenUp are the entries about transactions that may be what it lacks.
func (w *walker) observationFinding(kind Kind, session int, x observed, count int64, text string, invoked time.Time, givenUp []rundir.Explanation) {
	o := w.in.observations[x.observation]
	w.c.add(kind, o.Node, "observation", count, func() example {
		d := map[string]any{"after": x.After, "max": x.Max, "count": x.Count, "sum": x.Sum, "durable": o.Durable}
		if !invoked.IsZero() {
			d["invoked_at"] = invoked
		}
		if len(givenUp) > 0 {
			text += fmt.Sprintf("; %s there names %d in (%d, %d]", givenUp[0].Source, len(givenUp), x.After, x.Max)
			d["source"], d["entry"], d["given_up"] = givenUp[0].Source, givenUp[0].Entry, len(givenUp)
		}
		return example{key: opKey(session, x.Max), from: o.At, to: o.End, details: d,
			summary: fmt.Sprintf("a snapshot of session %d on %s %s", session, o.Node, text)}
	})
}
