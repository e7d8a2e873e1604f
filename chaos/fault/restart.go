package fault

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/topology"
)

// cleanStopLimit is how long restart waits for a clean shutdown. Walsenders wait until their
// peers have confirmed everything, which a broken link can put off for long.
const cleanStopLimit = 5 * time.Second

// restart shuts a node down cleanly and starts it again at the end.
type restart struct{ outage }

func newRestart() Fault {
	return restart{outage{meta{
		name:     "restart",
		describe: "a node is shut down cleanly (fast mode; immediate if that takes over 5 s); it is started again at the end",
		class:    OnNode,
		span:     Span{500 * time.Millisecond, 2 * time.Second},
	}}}
}

func (restart) Inject(ctx context.Context, env Env, f rundir.PlannedFault) (Active, error) {
	n, pids, err := runningNode(env, f.Target)
	if err != nil {
		return nil, err
	}
	d := &down{env: env, node: n, was: len(pids), how: "fast shutdown"}
	env.event(f.Target, rundir.EventStop)
	clean, cancel := context.WithTimeout(ctx, cleanStopLimit)
	defer cancel()
	err = n.Stop(clean, topology.StopFast)
	if err == nil {
		env.event(f.Target, rundir.EventStopped)
		return d, nil
	}
	if !errors.Is(clean.Err(), context.DeadlineExceeded) {
		return d, fmt.Errorf("fast shutdown of %s: %w", f.Target, err)
	}
	d.how = fmt.Sprintf("fast shutdown did not finish in %s, then immediate shutdown", cleanStopLimit)
	env.event(f.Target, rundir.EventImmediate)
	if err := n.Stop(ctx, topology.StopImmediate); err != nil {
		return d, fmt.Errorf("immediate shutdown of %s: %w", f.Target, err)
	}
	return d, nil
}
