package fault

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/topology"
)

// disconnect takes a node's network away: its processes go on, and nobody reaches them.
type disconnect struct{ outage }

func newDisconnect() Fault {
	return disconnect{outage{meta{
		name:       "disconnect",
		describe:   "a node's container is taken out of its network and put back: nobody reaches it, the harness neither",
		class:      OnNode,
		span:       Span{1500 * time.Millisecond, 5 * time.Second},
		containers: true,
	}}}
}

func (disconnect) Inject(ctx context.Context, env Env, planned rundir.PlannedFault) (Active, error) {
	n, means, err := runningWith[topology.Disconnector](env, planned)
	if err != nil {
		return nil, err
	}
	d := &disconnected{env: env, node: n, means: means}
	if err := means.Disconnect(ctx); err != nil {
		return d, fmt.Errorf("disconnect %s: %w", planned.Target, err)
	}
	return d, nil
}

type disconnected struct {
	env   Env
	node  topology.Node
	means topology.Disconnector
}

func (d *disconnected) Prove(ctx context.Context) (bool, string, error) {
	name := d.node.Name()
	out, err := d.means.Disconnected(ctx)
	if err != nil {
		return false, "", fmt.Errorf("networks of %s: %w", name, err)
	}
	if !out {
		return false, name + " is in its network", nil
	}
	pids, err := d.node.Processes()
	if err != nil {
		return false, "", fmt.Errorf("processes of %s: %w", name, err)
	}
	if d.env.answers(ctx, name) {
		return false, name + " is in no network as its engine says, but it answered", nil
	}
	return len(pids) > 0, fmt.Sprintf("docker network disconnect: %s is in no network, its %d processes go on, a connection gets no answer", name, len(pids)), nil
}

func (d *disconnected) Heal(ctx context.Context) (string, error) {
	name := d.node.Name()
	if d.env.lost.has(name) {
		return name + " was lost meanwhile", nil
	}
	if err := d.means.Reconnect(ctx); err != nil {
		return "", fmt.Errorf("reconnect %s: %w", name, err)
	}
	out, err := d.means.Disconnected(ctx)
	if err != nil {
		return "", fmt.Errorf("networks of %s: %w", name, err)
	}
	if out {
		return "", errors.New(name + " is in no network after it was put back")
	}
	return serves(ctx, d.env, name)
}
