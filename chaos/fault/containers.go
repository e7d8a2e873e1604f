package fault

import (
	"context"
	"errors"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/topology"
)

// Containers are the names of the faults that only nodes in containers can have.
func Containers() []string {
	var names []string
	for _, f := range All() {
		if f.Containers() {
			names = append(names, f.Name())
		}
	}
	return names
}

// runningWith finds a fault's target and what this kind of node offers for it. A node that is down, or of a kind
// that lacks the means, is *NotApplicable.
func runningWith[Means any](env Env, planned rundir.PlannedFault) (topology.Node, Means, error) {
	var none Means
	n, _, err := runningNode(env, planned.Target)
	if err != nil {
		return nil, none, err
	}
	means, ok := n.(Means)
	if !ok {
		return nil, none, notApplicable("%s is a node without the means for %s", planned.Target, planned.Name)
	}
	return n, means, nil
}

// revive waits until a node serves again, and starts it if its server stopped.
func revive(ctx context.Context, env Env, n topology.Node) (string, error) {
	answer, err := serves(ctx, env, n.Name())
	if err == nil {
		return answer, nil
	}
	pids, listErr := n.Processes()
	if listErr != nil || len(pids) > 0 {
		return "", errors.Join(err, listErr)
	}
	env.event(n.Name(), rundir.EventKill)
	return (&down{env: env, node: n}).Heal(ctx)
}

// Supported splits names into the faults that nodes can have, which are containers or else processes, and those they cannot.
func Supported(names []string, containers bool) (can, cannot []string) {
	for _, name := range names {
		if f, ok := ByName(name); ok && (containers && f.Local() || !containers && f.Containers()) {
			cannot = append(cannot, name)
			continue
		}
		can = append(can, name)
	}
	return can, cannot
}
