package checker

import (
	"fmt"
	"slices"

	"github.com/spockchaos/spockchaos/workload/history"
)

// lost reports an acknowledged write that is missing on a survivor although it is not
// gone by design: another survivor has it, or the node that took it was not lost. If
// the engine logged there why it discarded it, the loss is explained. What may be on its way still, in a round
// whose survivors did not come to agree, waits for the session's end (late.go).
func (w *walker) lost(s *session, op *history.Op, applied uint64) {
	for i, g := range w.groups {
		if applied&(1<<i) != 0 {
			continue
		}
		for _, node := range g.nodes {
			why := w.in.explainTransaction(node, s, op.N)
			show := func() example {
				text := fmt.Sprintf("%s lacks the acknowledged write %s of %s", node, opKey(s.header.Session, op.N), s.header.Node)
				e := opExample(s, op, text)
				if applied != 0 {
					e.summary += "; " + w.nodes(applied) + " has it"
					e.details["present_on"] = w.nodes(applied)
				} else {
					e.summary += "; no survivor has it"
				}
				return e.explain(why)
			}
			if why == nil && slices.Contains(w.nodesIn(applied), s.header.Node) && w.mayBeLate(node, s, op.InvokedAt, show) {
				continue
			}
			w.c.add(explained(Lost, why), node, "ledger", 1, show)
		}
	}
}
