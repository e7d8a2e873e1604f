package fault

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/topology"
)

// kill ends every process of a node with SIGKILL and starts it again at the end.
type kill struct{ meta }

func newKill() Fault {
	return kill{meta{
		name:     "kill",
		describe: "every process of a node gets SIGKILL; it is started again at the end",
		class:    OnNode,
		span:     Span{500 * time.Millisecond, 3 * time.Second},
	}}
}

func (kill) Draw(r *rand.Rand, w World) (string, Params) { return drawNode(r, w), Params{} }

func (kill) Touches(w World, target string, _ Params) (Reach, error) { return wholeNode(w, target) }

func (kill) Inject(ctx context.Context, env Env, f rundir.PlannedFault) (Active, error) {
	how := "kill"
	if n := env.Cluster.Node(f.Target); n != nil {
		how += " by " + n.Means()
	}
	return takeDown(ctx, env, f.Target, topology.StopKill, rundir.EventKill, how)
}

// wholeNode is the reach of what takes a node out of service.
func wholeNode(w World, target string) (Reach, error) {
	node, err := parseNode(w, target)
	return Reach{Nodes: []string{node}, Needs: []string{node}}, err
}
