package schedule

import (
	"fmt"
	"slices"
	"time"

	"github.com/spockchaos/spockchaos/chaos/fault"
)

// Config is what a schedule is drawn for.
type Config struct {
	Nodes []string
	Chaos time.Duration // length of the chaos phase
	// Faults are the names that may be drawn; empty is all. The loss or crash of the failed
	// node and the target's lag are the round's own: they come whether listed or not.
	Faults []string
	Failed string // the node to lose or crash; "" is the first
}

// LeastChaos is the shortest chaos phase for which a round can be drawn.
const LeastChaos = 4 * time.Second

func (c Config) withDefaults() (Config, error) {
	if len(c.Nodes) < 2 {
		return c, fmt.Errorf("schedule: %d nodes, at least 2 are needed", len(c.Nodes))
	}
	if c.Chaos < LeastChaos {
		return c, fmt.Errorf("schedule: a chaos phase of %s is too short, at least %s is needed", c.Chaos, LeastChaos)
	}
	if c.Failed == "" {
		c.Failed = c.Nodes[0]
	}
	if !slices.Contains(c.Nodes, c.Failed) {
		return c, fmt.Errorf("schedule: no node %q to lose", c.Failed)
	}
	if len(c.Faults) == 0 {
		c.Faults = fault.Drawable()
	}
	drawable := fault.Drawable()
	var draw []string
	for _, name := range c.Faults {
		if _, ok := fault.ByName(name); !ok {
			return c, fmt.Errorf("schedule: no fault %q", name)
		}
		if slices.Contains(drawable, name) {
			draw = append(draw, name)
		}
	}
	c.Faults = draw
	return c, nil
}
