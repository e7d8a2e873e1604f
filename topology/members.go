package topology

import "github.com/spockchaos/spockchaos/topology/engine"

// Members are the nodes of a cluster as an engine sees them: each reaches each other through their link.
func Members(c Cluster) []engine.Member {
	var all []engine.Member
	for _, n := range c.Nodes() {
		m := engine.Member{Name: n.Name(), DSN: n.DSN(), PeerDSN: map[string]string{}}
		m.PeerDSN[n.Name()] = OwnDSN(n)
		for _, peer := range c.Nodes() {
			if peer.Name() != n.Name() {
				m.PeerDSN[peer.Name()] = c.LinkDSN(peer.Name(), n.Name())
			}
		}
		all = append(all, m)
	}
	return all
}

// OwnDSN is the conninfo by which a node's server reaches itself. It is another than DSN where that leads through a port which
// is published elsewhere than the server listens.
func OwnDSN(n Node) string {
	if own, ok := n.(interface{ OwnDSN() string }); ok {
		return own.OwnDSN()
	}
	return n.DSN()
}

// Dialers are who reaches a node of a cluster through a link: the client, and each other node.
func Dialers(c Cluster, to string) []string {
	from := []string{Client}
	for _, n := range c.Nodes() {
		if n.Name() != to {
			from = append(from, n.Name())
		}
	}
	return from
}
