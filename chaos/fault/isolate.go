package fault

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/topology"
)

// isolate cuts one node off from all others, both ways, with or without its clients.
type isolate struct{ meta }

func newIsolate() Fault {
	return isolate{meta{
		name:     "isolate",
		describe: "one node is partitioned from all others; with clients=true from its clients too",
		class:    OnLink,
		span:     Span{1500 * time.Millisecond, 5 * time.Second},
	}}
}

func (isolate) Draw(r *rand.Rand, w World) (string, Params) {
	return drawNode(r, w), Params{paramClients: r.IntN(2) == 0}
}

func (isolate) Touches(w World, target string, p Params) (Reach, error) {
	node, err := parseNode(w, target)
	if err != nil {
		return Reach{}, err
	}
	clients, err := flag(p, paramClients)
	if err != nil {
		return Reach{}, err
	}
	var reach Reach
	for _, peer := range w.Nodes {
		if peer != node {
			reach.Links = append(reach.Links, LinkName(node, peer), LinkName(peer, node))
		}
	}
	if clients {
		reach.Links = append(reach.Links, LinkName(topology.Client, node))
	}
	return reach, nil
}

func (i isolate) Inject(ctx context.Context, env Env, f rundir.PlannedFault) (Active, error) {
	reach, err := i.Touches(env.world(), f.Target, f.Parameters)
	if err != nil {
		return nil, err
	}
	return stall(ctx, env, f, both(reach.Links...))
}
