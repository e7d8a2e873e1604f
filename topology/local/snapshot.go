package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spockchaos/spockchaos/topology"
)

// savedDir is where a node's saved data lie.
func (c *Cluster) savedDir(n *node) string { return filepath.Join(c.root, "saved", n.name) }

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
		n.mu.Lock()
		lost := n.lost
		n.mu.Unlock()
		if lost {
			return n.wrap("saving", ErrLost)
		}
		if err := n.stop(ctx, topology.StopFast); err != nil {
			return n.wrap("saving", err)
		}
		saved := c.savedDir(n)
		if err := os.RemoveAll(saved); err != nil {
			return n.wrap("saving", err)
		}
		if err := copyTree(ctx, n.data, saved); err != nil {
			return n.wrap("saving", err)
		}
		var err error
		n.known, err = stampTree(n.data)
		return n.wrap("saving", err)
	})
	if err != nil {
		return fmt.Errorf("saving the cluster: %w", err)
	}
	c.saved = true
	return nil
}

// Restore kills what runs, heals every link, puts the saved data in place and starts all nodes.
func (c *Cluster) Restore(ctx context.Context) (err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return errors.New("restoring the cluster: it is closed")
	case !c.saved:
		return errors.New("restoring the cluster: nothing was saved")
	}
	for _, l := range c.Links() {
		if err := l.Heal(ctx); err != nil {
			return fmt.Errorf("restoring the cluster: %w", err)
		}
	}
	err = c.each(ctx, func(ctx context.Context, n *node) error {
		n.op.Lock()
		defer n.op.Unlock()
		return n.wrap("restoring", n.restore(ctx, c.savedDir(n)))
	})
	if err != nil {
		return fmt.Errorf("restoring the cluster: %w", err)
	}
	for _, l := range c.Links() { // of the servers that were
		if _, err := l.Reset(ctx); err != nil {
			return fmt.Errorf("restoring the cluster: %w", err)
		}
	}
	// Nodes do not come up in the same instant, and an apply worker that finds its provider
	// down tries again seconds later: so the links make them wait instead.
	for _, l := range c.Links() {
		if err := l.Hold(ctx, true); err != nil {
			return fmt.Errorf("restoring the cluster: %w", err)
		}
		defer func() { err = errors.Join(err, l.Hold(context.WithoutCancel(ctx), false)) }()
	}
	if err := c.startAll(ctx); err != nil {
		return fmt.Errorf("restoring the cluster: %w", err)
	}
	return nil
}

// restore puts saved data in place of what there is; the node is down afterwards.
func (n *node) restore(ctx context.Context, saved string) error {
	if err := n.stop(ctx, topology.StopKill); err != nil {
		return err
	}
	dropSharedMemory(n.data)
	if err := n.setClock(0); err != nil {
		return err
	}
	var err error
	// Whatever goes wrong, nothing is known of the files any more.
	known := n.known
	n.known = nil
	if n.known, _, err = syncTree(ctx, saved, n.data, known); err != nil {
		return err
	}
	n.mu.Lock()
	n.lost = false
	n.mu.Unlock()
	return nil
}
