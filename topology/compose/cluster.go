package compose

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/spockchaos/spockchaos/topology"
	"github.com/spockchaos/spockchaos/topology/engine"
)

// Cluster is what a file describes.
type Cluster struct {
	Engine   string
	Postgres int // major version
	Nodes    []Node
	Links    []Link
	// Ports of 127.0.0.1 at which the links are driven: Toxiproxy's HTTP API and ours.
	ToxiproxyPort, ControlPort int
	// Label is on every container, volume and network of the cluster; see LabelCluster.
	Label string
}

// Node is one server. Its name is also that of its service, volume and network.
type Node struct {
	Name, Image string
	Database    string
	User        string
	Password    string
	Network     netip.Prefix
	Addr        netip.Addr // of the node there
	LinksAddr   netip.Addr // of the links there
	Port        int        // of 127.0.0.1 that leads straight to the server
	Data        string     // where the volume is mounted
}

// Link is one link, which From dials to reach To.
type Link struct {
	From, To string
	Listen   int // at the address of the links in From's network
	Delay    time.Duration
	Port     int // of 127.0.0.1, for the links of the client
}

// Labels of what belongs to a cluster of a file of ours.
const (
	// LabelCluster is the same on all of one cluster. Two files of the same options have the same; they cannot be up together.
	LabelCluster = "io.spockchaos.cluster"
	// LabelDisposable says "true": whoever made it agreed that it is broken and destroyed.
	LabelDisposable = "io.spockchaos.disposable"
	LabelRole       = "io.spockchaos.role" // RoleNode or RoleLinks
	LabelNode       = "io.spockchaos.node" // on all of one node: its name
)

// Values of LabelRole, of which RoleLinks is also the name of the service that holds the links.
const (
	RoleNode  = "node"
	RoleLinks = "links"
)

// pgPort is where a server listens in its container.
const pgPort = 5432

// Node by name, nil if there is none.
func (c *Cluster) Node(name string) *Node {
	for i := range c.Nodes {
		if c.Nodes[i].Name == name {
			return &c.Nodes[i]
		}
	}
	return nil
}

// Link by which from reaches to, nil if there is none.
func (c *Cluster) Link(from, to string) *Link {
	for i, l := range c.Links {
		if l.From == from && l.To == to {
			return &c.Links[i]
		}
	}
	return nil
}

// DSN leads from this machine straight to the node's server.
func (n *Node) DSN() string { return n.dsn("127.0.0.1", n.Port) }

// OwnDSN leads from the node's server to itself.
func (n *Node) OwnDSN() string { return n.dsn("127.0.0.1", pgPort) }

func (n *Node) dsn(host string, port int) string {
	return fmt.Sprintf("host=%s port=%d user=%s password=%s dbname=%s sslmode=disable connect_timeout=5",
		host, port, quote(n.User), quote(n.Password), quote(n.Database))
}

// quote makes a value of a conninfo out of any text.
func quote(s string) string {
	if s != "" && !strings.ContainsAny(s, ` '\`) {
		return s
	}
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

// LinkDSN is the conninfo by which from reaches to through their link, "" if there is none.
func (c *Cluster) LinkDSN(from, to string) string {
	l, n := c.Link(from, to), c.Node(to)
	switch {
	case l == nil || n == nil:
		return ""
	case from == topology.Client:
		return n.dsn("127.0.0.1", l.Port)
	}
	return n.dsn(RoleLinks, l.Listen) // in every node it is the address that the links have in its network
}

// Members are the nodes as an engine sees them, with the ways of the client and of each node to itself.
func (c *Cluster) Members() []engine.Member {
	var all []engine.Member
	for i := range c.Nodes {
		n := &c.Nodes[i]
		m := engine.Member{Name: n.Name, DSN: n.DSN(), PeerDSN: map[string]string{n.Name: n.OwnDSN()}}
		for _, l := range c.Links {
			if l.To == n.Name {
				m.PeerDSN[l.From] = c.LinkDSN(l.From, l.To)
			}
		}
		all = append(all, m)
	}
	return all
}
