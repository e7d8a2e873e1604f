package scenario

import (
	"context"

	"github.com/spockchaos/spockchaos/chaos"
)

// crew is one node's manager, which can be stopped and started again.
type crew struct {
	manager *chaos.Manager
	cancel  context.CancelFunc // nil: it does not run
	ended   chan struct{}
}

// manage starts the manager of a node. It runs until it is stopped, not until a step ends.
func (s *scene) manage(node string) {
	c := s.crew[node]
	if c == nil {
		c = &crew{manager: &chaos.Manager{Name: node, DSN: s.cluster.Node(node).DSN(), Period: s.period, Log: s.deps.Log}}
		s.crew[node] = c
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel, c.ended = cancel, make(chan struct{})
	go func() {
		defer close(c.ended)
		c.manager.Run(ctx)
	}()
}

// stop returns when the manager makes no more calls.
func (c *crew) stop() {
	if c.cancel != nil {
		c.cancel()
		<-c.ended
		c.cancel = nil
	}
}
