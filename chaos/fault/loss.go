package fault

import (
	"context"
	"fmt"
	"math/rand/v2"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/topology"
)

// loss kills a node and removes its data. It has no end; a round has at most one.
type loss struct{ meta }

func newLoss() Fault {
	return loss{meta{
		name:     "loss",
		describe: "a node is killed and its data removed, for good; the round's own, never drawn",
		class:    ForGood,
	}}
}

func (loss) Draw(r *rand.Rand, w World) (string, Params) { return drawNode(r, w), Params{} }

func (loss) Touches(w World, target string, _ Params) (Reach, error) {
	node, err := parseNode(w, target)
	return Reach{Nodes: []string{node}}, err
}

func (loss) Inject(ctx context.Context, env Env, f rundir.PlannedFault) (Active, error) {
	n, err := env.node(f.Target)
	if err != nil {
		return nil, err
	}
	pids, err := n.Processes()
	if err != nil {
		return nil, fmt.Errorf("processes of %s: %w", f.Target, err)
	}
	// Known before it is done: a fault that is healed meanwhile must not start it again.
	env.lost.add(f.Target)
	env.event(f.Target, rundir.EventLose)
	if err := n.Lose(ctx); err != nil {
		return nil, fmt.Errorf("lose %s: %w", f.Target, err)
	}
	return &lost{node: n, was: len(pids)}, nil
}

type lost struct {
	node topology.Node
	was  int
}

func (l *lost) Prove(context.Context) (bool, string, error) {
	pids, err := l.node.Processes()
	if err != nil {
		return false, "", fmt.Errorf("processes of %s: %w", l.node.Name(), err)
	}
	if len(pids) > 0 {
		return false, fmt.Sprintf("%d processes of %s are left", len(pids), l.node.Name()), nil
	}
	return true, fmt.Sprintf("all %d processes of %s are gone and its data removed", l.was, l.node.Name()), nil
}

func (l *lost) Heal(context.Context) (string, error) { return "for good", nil }
