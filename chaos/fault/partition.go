package fault

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/spockchaos/spockchaos/checker/rundir"
)

// partition holds every byte between two nodes, both ways, on both links between them.
type partition struct{ meta }

func newPartition() Fault {
	return partition{meta{
		name:     "partition",
		describe: "two nodes do not hear each other: all bytes between them are held, new connections hang",
		class:    OnLink,
		span:     Span{1500 * time.Millisecond, 6 * time.Second},
	}}
}

func (partition) Draw(r *rand.Rand, w World) (string, Params) {
	a, b := drawPeers(r, w)
	return min(a, b) + "<>" + max(a, b), Params{}
}

func (partition) Touches(w World, target string, _ Params) (Reach, error) {
	a, b, err := ParsePair(target)
	if err != nil {
		return Reach{}, err
	}
	return Reach{Links: []string{LinkName(a, b), LinkName(b, a)}}, inWorld(w, a, b)
}

func (p partition) Inject(ctx context.Context, env Env, f rundir.PlannedFault) (Active, error) {
	reach, err := p.Touches(env.world(), f.Target, f.Parameters)
	if err != nil {
		return nil, err
	}
	return stall(ctx, env, f, both(reach.Links...))
}
