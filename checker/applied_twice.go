package checker

import (
	"context"
	"maps"

	"github.com/spockchaos/spockchaos/workload/history"
)

// sessionOp is an operation of a session.
type sessionOp struct {
	history.Op
	session int
	node    string // where it was sent
}

// appliedTwice finds the one transaction that added to counters exactly what is over, by key: applied once more it makes all of that. nil if there is none, or
// more than one.
func (w *walker) appliedTwice(ctx context.Context, over map[int64]int64) (*sessionOp, error) {
	if len(over) == 0 {
		return nil, nil
	}
	var found []sessionOp
	for _, h := range w.in.histories {
		err := eachOp(ctx, h.path, w.in.round.Complete, func(op *history.Op) {
			if op.Outcome == history.Fail || len(found) > 1 {
				return
			}
			added := make(counterReplay, len(over))
			if added.applyCounter(op); maps.Equal(added, over) {
				found = append(found, sessionOp{*op, h.header.Session, h.header.Node})
			}
		})
		if err != nil {
			return nil, err
		}
	}
	if len(found) != 1 {
		return nil, nil
	}
	found[0].Effects = nil
	return &found[0], nil
}
