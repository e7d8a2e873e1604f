package fault

import (
	"context"
	"time"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/topology"
)

// kill ends every process of a node with SIGKILL and starts it again at the end.
type kill struct{ outage }

func newKill() Fault {
	return kill{outage{meta{
		name:     "kill",
		describe: "every process of a node gets SIGKILL; it is started again at the end",
		class:    OnNode,
		span:     Span{500 * time.Millisecond, 3 * time.Second},
	}}}
}

func (kill) Inject(ctx context.Context, env Env, f rundir.PlannedFault) (Active, error) {
	how := "kill"
	if n := env.Cluster.Node(f.Target); n != nil {
		how += " by " + n.Means()
	}
	return takeDown(ctx, env, f.Target, topology.StopKill, rundir.EventKill, how)
}
