package checker

import (
	"fmt"
	"time"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/workload/history"
)

// absentQueue holds the session's writes that no survivor has until it is clear what
// each of them is: vanished (a durable observation on a survivor saw it), a hole (a
// survivor has a later write of the session, and a node's writes arrive in commit order), or,
// if acknowledged, gone by design (RPO). A write leaves the queue for the tail when no
// observation that is still open covers it, so the queue is as short as they are.
type absentQueue struct {
	queue []absentOp
	tail  absentTail
}

type absentOp struct {
	n                  int64
	ok                 bool
	invoked, completed time.Time
	holeBefore         int64 // a later write that a survivor has; 0 if there is none
	holeNodes          uint64
	seen               int // 1 + index of the observation that saw it
}

// absentTail is a run of acknowledged writes that nobody saw and no later write follows, so far.
type absentTail struct {
	count int64
	first absentOp
}

func (w *walker) absentAdd(op *history.Op) {
	w.absent.queue = append(w.absent.queue, absentOp{n: op.N, ok: op.Outcome == history.OK, invoked: op.InvokedAt, completed: op.CompletedAt})
}

// absentHole notes that a survivor has op: no earlier absent write is the end of what there is.
func (w *walker) absentHole(s *session, op *history.Op, applied uint64) {
	a := &w.absent
	for i := range a.queue {
		if a.queue[i].holeBefore == 0 {
			a.queue[i].holeBefore, a.queue[i].holeNodes = op.N, applied
		}
	}
	if a.tail.count > 0 {
		x := a.tail.first
		x.holeBefore, x.holeNodes = op.N, applied
		w.hole(s, x, a.tail.count)
		a.tail = absentTail{}
	}
}

// absentSeen notes that a durable observation on a survivor saw the writes in (after, max] that pick chooses.
func (w *walker) absentSeen(after, max int64, observation int, pick func(absentOp) bool) {
	for i := range w.absent.queue {
		if x := &w.absent.queue[i]; x.n > after && x.n <= max && pick(*x) {
			x.seen = observation + 1
		}
	}
}

// absentRetire judges the writes up to n, which no open observation covers.
func (w *walker) absentRetire(s *session, n int64) {
	a := &w.absent
	i := 0
	for ; i < len(a.queue) && a.queue[i].n <= n; i++ {
		switch x := a.queue[i]; {
		case x.seen > 0:
			w.vanished(s, x)
		case !x.ok: // unknown, on no survivor: it was never applied, or is gone by design
		case x.holeBefore > 0:
			w.hole(s, x, 1)
		default:
			if a.tail.count == 0 {
				a.tail.first = x
			}
			a.tail.count++
		}
	}
	if i > 0 {
		a.queue = a.queue[:copy(a.queue, a.queue[i:])]
	}
}

// absentEnd judges what is left at the end of the session: it is gone by design.
func (w *walker) absentEnd(s *session) {
	w.absentRetire(s, s.last)
	a := &w.absent
	if a.tail.count == 0 {
		return
	}
	w.result.RPO.Writes += a.tail.count
	if lost := w.in.round.LostAt; !lost.IsZero() && !a.tail.first.completed.IsZero() {
		w.result.RPO.OldestSeconds = max(w.result.RPO.OldestSeconds, lost.Sub(a.tail.first.completed).Seconds())
	}
	a.tail = absentTail{}
}

// hole reports count writes, x the first and all before x.holeBefore, that no survivor has although one has a later write of the session. Entries explain as
// many of them as they name: on the node itself, or, where a rescue had it from there, on another.
func (w *walker) hole(s *session, x absentOp, count int64) {
	last := x.n
	if count > 1 {
		last = x.holeBefore - 1
	}
	entries := func(node string) []rundir.Explanation { return w.in.givenUpIn(node, s.header.Session, x.n-1, last) }
	for i, g := range w.groups {
		if x.holeNodes&(1<<i) == 0 {
			continue
		}
		for _, node := range g.nodes {
			show := func(n int64) example {
				e := example{key: opKey(s.header.Session, n),
					summary: fmt.Sprintf("%s has write %d of session %d of %s but not the acknowledged write %d before it, nor has any survivor",
						node, x.holeBefore, s.header.Session, s.header.Node, n),
					details: map[string]any{"later_write": x.holeBefore}}
				if n == x.n {
					e.from, e.to = x.invoked, x.completed
				}
				return e
			}
			why := entries(node)
			known := min(int64(len(why)), count)
			if known > 0 {
				w.c.add(ExplainedLoss, node, "ledger", known, func() example { return show(why[0].N).explain(&why[0]) })
			}
			if known == count {
				continue
			}
			w.c.add(OutOfOrder, node, "ledger", count-known, func() example {
				e := show(x.n)
				for _, other := range w.in.round.Survivors {
					if its := entries(other); other != node && len(its) > 0 {
						e.summary += fmt.Sprintf("; %s on %s says why that one lacks it", its[0].Source, other)
						e.details["node"], e.details["source"], e.details["entry"] = other, its[0].Source, its[0].Entry
						break
					}
				}
				return e
			})
		}
	}
}
