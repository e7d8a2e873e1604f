package checker

import (
	"fmt"

	"github.com/spockchaos/spockchaos/workload/history"
)

// diverged reports a write of unknown outcome that some survivors have and some lack:
// it may have been applied or not, but it is one or the other.
func (w *walker) diverged(s *session, op *history.Op, applied uint64) {
	for i, g := range w.groups {
		if applied&(1<<i) != 0 {
			continue
		}
		w.onEach(g, Diverged, "ledger", 1, func(node string) example {
			e := opExample(s, op, fmt.Sprintf("%s lacks the write %s (outcome unknown) that %s has", node, opKey(s.header.Session, op.N), w.nodes(applied)))
			e.details["present_on"] = w.nodes(applied)
			return e
		})
	}
}
