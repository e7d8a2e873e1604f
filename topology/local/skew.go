package local

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"github.com/spockchaos/spockchaos/topology"
	"github.com/spockchaos/spockchaos/topology/local/clock"
)

var _ topology.ClockSkewer = (*node)(nil)

// makeClock makes the file of a node's offset, where its cluster wants one.
func (n *node) makeClock() error {
	if n.cluster.clockLib == "" {
		return nil
	}
	var err error
	if n.offset, err = clock.New(filepath.Join(n.dir, "clock")); err != nil {
		return n.wrap("making the clock of", err)
	}
	return n.wrap("making the clock of", n.cluster.account.own(n.offset.Path()))
}

func (n *node) closeClock() error {
	if n.offset == nil {
		return nil
	}
	return n.offset.Close()
}

func (n *node) setClock(offset time.Duration) error {
	if n.offset == nil {
		if offset == 0 {
			return nil
		}
		return errors.New("the cluster was made without Options.ClockSkew")
	}
	return n.offset.Set(offset)
}

// SkewClock is topology.ClockSkewer's. The offset stays over starts and stops, and Restore ends it.
func (n *node) SkewClock(_ context.Context, offset time.Duration) error {
	return n.wrap("skewing the clock of", n.setClock(offset))
}
