package fault

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/topology"
	"github.com/spockchaos/spockchaos/topology/engine"
)

const (
	// startLimit bounds the start of a node, recovery included.
	startLimit = 60 * time.Second
	// logTail is how much of a server's log an error about it quotes.
	logTail = 600
)

// outage is a fault that takes one node out of service, and has no parameters: kill, immediate_stop, restart and pause.
type outage struct{ meta }

func (outage) Draw(r *rand.Rand, w World) (string, Params) { return drawNode(r, w), Params{} }

func (outage) Touches(w World, target string, _ Params) (Reach, error) {
	node, err := parseNode(w, target)
	return Reach{Nodes: []string{node}, Needs: []string{node}}, err
}

// down is an active fault whose node has no process until it is healed: kill,
// immediate_stop and restart.
type down struct {
	env  Env
	node topology.Node
	was  int    // processes before
	how  string // by what means they ended
}

// runningNode finds the target and its processes; a node without any is *NotApplicable.
func runningNode(env Env, name string) (topology.Node, []int, error) {
	n, err := env.node(name)
	if err != nil {
		return nil, nil, err
	}
	if env.lost.has(name) {
		return nil, nil, notApplicable("%s is lost", name)
	}
	pids, err := n.Processes()
	if err != nil {
		return nil, nil, fmt.Errorf("processes of %s: %w", name, err)
	}
	if len(pids) == 0 {
		return nil, nil, notApplicable("%s is down already", name)
	}
	return n, pids, nil
}

// takeDown stops a node in a way that leaves no checkpoint.
func takeDown(ctx context.Context, env Env, name string, mode topology.StopMode, kind rundir.EventKind, how string) (Active, error) {
	n, pids, err := runningNode(env, name)
	if err != nil {
		return nil, err
	}
	d := &down{env: env, node: n, was: len(pids), how: how}
	env.event(name, kind)
	if err := n.Stop(ctx, mode); err != nil {
		return d, fmt.Errorf("%s of %s: %w", how, name, err)
	}
	return d, nil
}

func (d *down) Prove(ctx context.Context) (bool, string, error) {
	pids, err := d.node.Processes()
	if err != nil {
		return false, "", fmt.Errorf("processes of %s: %w", d.node.Name(), err)
	}
	if len(pids) > 0 {
		return false, fmt.Sprintf("%s: %d of %d processes are left", d.how, len(pids), d.was), nil
	}
	proof := fmt.Sprintf("%s: all %d processes of %s are gone", d.how, d.was, d.node.Name())
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	c, err := d.env.Connect(ctx, d.node.Name())
	if err == nil {
		engine.HangUp(c)
		return false, proof + ", but it accepts a connection", nil
	}
	return true, proof + ", it accepts no connection", nil
}

func (d *down) Heal(ctx context.Context) (string, error) {
	name := d.node.Name()
	if d.env.lost.has(name) {
		return name + " was lost meanwhile", nil
	}
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	began := time.Now()
	if pids, err := d.node.Processes(); err != nil || len(pids) == 0 {
		if err := d.node.Start(ctx); err != nil {
			if d.env.lost.has(name) {
				return name + " was lost meanwhile", nil
			}
			if tail, logErr := d.node.Log(logTail); logErr == nil && tail != "" {
				err = fmt.Errorf("%w; end of its log: %s", err, tail)
			}
			return "", fmt.Errorf("start %s again: %w", name, err)
		}
	}
	d.env.event(name, rundir.EventStart)
	answer, err := serves(ctx, d.env, name)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s after %s", answer, short(time.Since(began))), nil
}

// serves asks a node, straight, since when its postmaster runs.
func serves(ctx context.Context, env Env, name string) (string, error) {
	var since string
	err := until(ctx, func() (bool, error) {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		err := env.with(ctx, name, func(c *pgx.Conn) error {
			var err error
			since, err = env.since(ctx, c)
			return err
		})
		var gone *NotApplicable
		if errors.As(err, &gone) {
			return false, fmt.Errorf("%s should be in service: %w", name, err)
		}
		return err == nil, nil
	})
	if err != nil {
		return "", fmt.Errorf("%s does not answer a query: %w", name, err)
	}
	return fmt.Sprintf("%s answers a query, its postmaster runs since %s", name, since), nil
}
