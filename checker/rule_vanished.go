package checker

import "fmt"

// vanished reports a write that an observer read on a survivor, durably, and that no
// survivor has at the end.
func (w *walker) vanished(s *session, x absentOp) {
	o := w.in.observations[x.seen-1]
	w.c.add(Vanished, o.Node, "observation", 1, func() example {
		outcome := "ok"
		if !x.ok {
			outcome = "unknown"
		}
		return example{key: opKey(s.header.Session, x.n), from: x.invoked, to: o.End,
			summary: fmt.Sprintf("an observer read write %d of session %d on %s, and no survivor has it now", x.n, s.header.Session, o.Node),
			details: map[string]any{"outcome": outcome, "written_to": s.header.Node, "observed_at": o.At}}
	})
}
