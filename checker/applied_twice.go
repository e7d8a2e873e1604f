package checker

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/spockchaos/spockchaos/checker/rundir"
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

const (
	// soonDown is how long after a transaction was sent the end of a node's server is worth telling, where the node has the transaction twice: a subscriber that
	// was just about to note that it had it is sent it again.
	soonDown = 5 * time.Second
	// atOnce is how long after the event of a node's end its server may still have run.
	atOnce = time.Second
)

// thenDown tells in an example about a transaction that a node has twice how the node's server ended next, if that was soon, and extends the example's time to it.
func (in *input) thenDown(e example, node string, sent time.Time) example {
	for _, ev := range in.events {
		if ev.Node != node || ev.At.Before(sent.Add(-atOnce)) || ev.At.After(sent.Add(soonDown)) {
			continue
		}
		switch ev.Kind {
		case rundir.EventKill, rundir.EventImmediate, rundir.EventStop:
			e.details["then"] = fmt.Sprintf("%s of %s at %s", ev.Kind, node, ev.At.UTC().Format(time.RFC3339Nano))
			if ev.At.After(e.to) {
				e.to = ev.At
			}
			return e
		}
	}
	return e
}
