package checker

import "github.com/spockchaos/spockchaos/workload/history"

// presence judges which survivors have an operation's marker (applied, one bit per
// group) by its outcome. What no survivor has goes to the absent queue: whether that is
// a violation shows later.
func (w *walker) presence(s *session, op *history.Op, applied uint64) {
	switch {
	case op.Outcome == history.Fail:
		if applied != 0 {
			w.resurrectedMarker(s, op, applied)
		}
		return // not a write: says nothing about those before it
	case applied == w.all:
	case applied != 0 && op.Outcome == history.OK:
		w.lost(s, op, applied)
	case applied != 0:
		w.diverged(s, op, applied)
	case op.Outcome == history.OK && !s.doomed:
		w.lost(s, op, applied)
	default:
		w.absentAdd(op)
	}
	if applied != 0 {
		w.absentHole(s, op, applied)
	}
}
