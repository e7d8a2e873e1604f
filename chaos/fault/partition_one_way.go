package fault

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/topology/link"
)

// partitionOneWay holds every byte that one node sends to another, on both links between
// them. Its target n2>n1 means: n2 hears nothing of n1.
type partitionOneWay struct{ meta }

func newPartitionOneWay() Fault {
	return partitionOneWay{meta{
		name:     "partition_one_way",
		describe: "one node (n2 of n2>n1) does not hear another (n1), which still hears it",
		class:    OnLink,
		span:     Span{1500 * time.Millisecond, 6 * time.Second},
	}}
}

func (partitionOneWay) Draw(r *rand.Rand, w World) (string, Params) {
	return LinkName(drawPeers(r, w)), Params{}
}

func (partitionOneWay) Touches(w World, target string, _ Params) (Reach, error) {
	deaf, mute, err := parsePeers(w, target)
	return Reach{Links: []string{LinkName(deaf, mute), LinkName(mute, deaf)}}, err
}

func (p partitionOneWay) Inject(ctx context.Context, env Env, f rundir.PlannedFault) (Active, error) {
	deaf, mute, err := parsePeers(env.world(), f.Target)
	if err != nil {
		return nil, err
	}
	return stall(ctx, env, f, []end{
		{LinkName(deaf, mute), link.Downstream}, // mute is the server: its answers
		{LinkName(mute, deaf), link.Upstream},   // mute is the client: its requests
	})
}
