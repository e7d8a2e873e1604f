package fault

import (
	"context"

	"github.com/spockchaos/spockchaos/topology"
	"github.com/spockchaos/spockchaos/topology/link"
)

// Link is what faults need of a link; *link.Link is one.
type Link interface {
	Name() string
	Addr() string // where it listens
	// Update changes the gate of a direction in one step. f sees in CutAfter what is left
	// until the cut, 0 once it acted, and must not call the link.
	Update(d link.Direction, f func(link.Gate) link.Gate)
	Reset(ctx context.Context) (int, error)
	Stats() link.Stats
}

// ClusterLinks looks links up in a cluster, by name.
func ClusterLinks(c topology.Cluster) func(name string) (Link, bool) {
	return func(name string) (Link, bool) {
		from, to, err := ParseLink(name)
		if err != nil {
			return nil, false
		}
		l := c.Link(from, to)
		if l == nil {
			return nil, false
		}
		return l, true
	}
}
