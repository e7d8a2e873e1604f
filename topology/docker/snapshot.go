package docker

import (
	"context"
	"errors"
	"fmt"

	"github.com/spockchaos/spockchaos/topology"
)

// Save stops the nodes and keeps a copy of their data as the state that Restore returns to. The
// nodes are down afterwards.
func (c *Cluster) Save(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return errors.New("saving the cluster: it is closed")
	}
	err := c.each(ctx, func(ctx context.Context, n *node) error {
		n.op.Lock()
		defer n.op.Unlock()
		return n.wrap("saving", n.save(ctx))
	})
	if err != nil {
		return fmt.Errorf("saving the cluster: %w", err)
	}
	c.saved = true
	return nil
}

func (n *node) save(ctx context.Context) error {
	if n.isLost() {
		return ErrLost
	}
	if err := n.stop(ctx, topology.StopFast); err != nil {
		return err
	}
	return n.saveData(ctx)
}

// Restore kills what runs, ends every fault, puts the saved data in place and starts all nodes.
func (c *Cluster) Restore(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return errors.New("restoring the cluster: it is closed")
	case !c.saved:
		return errors.New("restoring the cluster: nothing was saved")
	}
	if err := c.restore(ctx); err != nil {
		return fmt.Errorf("restoring the cluster: %w", err)
	}
	return nil
}

func (c *Cluster) restore(ctx context.Context) (err error) {
	if err := c.eachLink(ctx, func(ctx context.Context, l topology.Link) error { return l.Heal(ctx) }); err != nil {
		return err
	}
	err = c.each(ctx, func(ctx context.Context, n *node) error {
		n.op.Lock()
		defer n.op.Unlock()
		return n.wrap("restoring", n.restore(ctx))
	})
	if err != nil {
		return err
	}
	// Nodes do not come up in the same instant, and an apply worker that finds its provider
	// down tries again seconds later: so the links make them wait instead.
	hold := func(on bool) func(context.Context, topology.Link) error {
		return func(ctx context.Context, l topology.Link) error { return l.Hold(ctx, on) }
	}
	defer func() { err = errors.Join(err, c.eachLink(context.WithoutCancel(ctx), hold(false))) }()
	err = c.eachLink(ctx, func(ctx context.Context, l topology.Link) error {
		if _, err := l.Reset(ctx); err != nil { // of the servers that were
			return err
		}
		return hold(true)(ctx, l)
	})
	if err != nil {
		return err
	}
	return c.startAll(ctx)
}

func (c *Cluster) eachLink(ctx context.Context, f func(context.Context, topology.Link) error) error {
	return topology.Each(ctx, c.Links(), f)
}

// restore puts saved data in place of what there is; the node is down and whole afterwards.
func (n *node) restore(ctx context.Context) error {
	if err := n.stop(ctx, topology.StopKill); err != nil {
		return err
	}
	if n.isLost() {
		if err := n.makeAgain(ctx); err != nil {
			return err
		}
	} else if err := errors.Join(n.reconnect(ctx), n.freeMemory(ctx)); err != nil {
		return err
	}
	return n.restoreData(ctx)
}

// makeAgain makes the containers and the volume of a node that was lost.
func (n *node) makeAgain(ctx context.Context) error {
	if err := n.makeDisk(ctx); err != nil {
		return err
	}
	if err := n.makeContainer(ctx); err != nil {
		return err
	}
	n.mu.Lock()
	n.lost, n.ended, n.limited = false, "", limited{}
	n.mu.Unlock()
	return nil
}
