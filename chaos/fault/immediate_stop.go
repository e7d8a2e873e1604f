package fault

import (
	"context"
	"time"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/topology"
)

// immediateStop shuts a node down without a checkpoint and starts it again at the end: it recovers from its WAL.
type immediateStop struct{ outage }

func newImmediateStop() Fault {
	return immediateStop{outage{meta{
		name:     "immediate_stop",
		describe: "a node is shut down in immediate mode (no checkpoint); it is started again at the end",
		class:    OnNode,
		span:     Span{500 * time.Millisecond, 3 * time.Second},
	}}}
}

func (immediateStop) Inject(ctx context.Context, env Env, f rundir.PlannedFault) (Active, error) {
	return takeDown(ctx, env, f.Target, topology.StopImmediate, rundir.EventImmediate, "immediate shutdown")
}
