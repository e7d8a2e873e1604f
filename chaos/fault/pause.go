package fault

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/topology"
)

// pause stops every process of a node with SIGSTOP: it is there and does not answer, and then goes on.
type pause struct{ outage }

func newPause() Fault {
	return pause{outage{meta{
		name:     "pause",
		describe: "every process of a node is stopped (SIGSTOP) and continues at the end",
		class:    OnNode,
		span:     Span{1 * time.Second, 5 * time.Second},
	}}}
}

func (pause) Inject(ctx context.Context, env Env, f rundir.PlannedFault) (Active, error) {
	n, pids, err := runningNode(env, f.Target)
	if err != nil {
		return nil, err
	}
	p := &paused{env: env, node: n, processes: len(pids)}
	env.event(f.Target, rundir.EventPause)
	if err := n.Pause(ctx); err != nil {
		return p, fmt.Errorf("pause %s: %w", f.Target, err)
	}
	return p, nil
}

type paused struct {
	env       Env
	node      topology.Node
	processes int
}

func (p *paused) Prove(ctx context.Context) (bool, string, error) {
	name := p.node.Name()
	stopped, err := p.node.Paused()
	if err != nil {
		return false, "", fmt.Errorf("state of %s: %w", name, err)
	}
	if !stopped {
		return false, name + " has processes that are not stopped", nil
	}
	if p.env.answers(ctx, name) {
		return false, name + " is stopped as the system says, but it answered", nil
	}
	return true, fmt.Sprintf("all %d processes of %s are stopped, a connection gets no answer in %s", p.processes, name, short(silence)), nil
}

func (p *paused) Heal(ctx context.Context) (string, error) {
	name := p.node.Name()
	if p.env.lost.has(name) {
		return name + " was lost meanwhile", nil
	}
	if err := p.node.Resume(ctx); err != nil {
		return "", fmt.Errorf("resume %s: %w", name, err)
	}
	p.env.event(name, rundir.EventResume)
	stopped, err := p.node.Paused()
	if err != nil {
		return "", fmt.Errorf("state of %s: %w", name, err)
	}
	if stopped {
		return "", errors.New(name + " is still stopped after it was continued")
	}
	return serves(ctx, p.env, name)
}
