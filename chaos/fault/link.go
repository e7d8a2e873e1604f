package fault

import "github.com/spockchaos/spockchaos/topology"

// ClusterLinks looks links up in a cluster, by name.
func ClusterLinks(c topology.Cluster) func(name string) (topology.Link, bool) {
	return func(name string) (topology.Link, bool) {
		from, to, err := ParseLink(name)
		if err != nil {
			return nil, false
		}
		l := c.Link(from, to)
		return l, l != nil
	}
}
