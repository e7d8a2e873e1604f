package checker

import (
	"fmt"

	"github.com/spockchaos/spockchaos/workload/history"
)

// resurrectedMarker reports a write that certainly failed and is there all the same.
// Rows that a delete removed are found where tables are compared.
func (w *walker) resurrectedMarker(s *session, op *history.Op, applied uint64) {
	for i, g := range w.groups {
		if applied&(1<<i) == 0 {
			continue
		}
		w.onEach(g, Resurrected, "ledger", 1, func(node string) example {
			return opExample(s, op, fmt.Sprintf("%s has the write %s, which failed", node, opKey(s.header.Session, op.N)))
		})
	}
}
