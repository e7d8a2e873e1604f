package compose

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"time"

	"github.com/spockchaos/spockchaos/topology"
	"github.com/spockchaos/spockchaos/topology/docker/image"
)

// Ports within what HostPortStart begins, whatever the number of nodes.
const (
	linkOffset      = 10 // the client's link to n1
	toxiproxyOffset = 20
	lastOffset      = toxiproxyOffset + 1 // our own API
)

// New is the cluster that the options ask for.
func New(o Options) (*Cluster, error) {
	pgVer := ""
	if o.Postgres != 0 {
		pgVer = strconv.Itoa(o.Postgres)
	}
	node, err := image.Find(o.Engine, pgVer)
	if err != nil {
		return nil, err
	}
	o.Postgres = node.Postgres
	if o.Nodes < MinNodes || o.Nodes > MaxNodes {
		return nil, fmt.Errorf("a cluster in compose has %d to %d nodes, not %d", MinNodes, MaxNodes, o.Nodes)
	}
	if o.HostPortStart < MinPort || o.HostPortStart > MaxPort {
		return nil, fmt.Errorf("the ports from %d to %d cannot be published: the first must be from %d to %d",
			o.HostPortStart, o.HostPortStart+lastOffset, MinPort, MaxPort)
	}
	networks, err := parseSubnet(o.Subnet, o.Nodes)
	if err != nil {
		return nil, err
	}
	links := o.Nodes * o.Nodes
	slowest := o.BaseDelay + time.Duration(links-1)*o.DelayStep
	if min(o.BaseDelay, o.DelayStep) < 0 || max(o.BaseDelay, o.DelayStep, slowest) > MaxDelay {
		return nil, fmt.Errorf("a delay of %s and %s more for each of %d links: no link may have less than 0 or more than %s", o.BaseDelay, o.DelayStep, links, MaxDelay)
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%+v", o))
	c := &Cluster{
		Engine: o.Engine, Postgres: o.Postgres, Label: hex.EncodeToString(sum[:6]),
		ToxiproxyPort: o.HostPortStart + toxiproxyOffset, ControlPort: o.HostPortStart + lastOffset,
	}
	for i, network := range networks {
		c.Nodes = append(c.Nodes, Node{
			Name: fmt.Sprintf("n%d", i+1), Image: node.Ref, Database: database, User: user, Password: password, Data: node.Data,
			Network: network, Addr: plus(network.Addr(), 2), LinksAddr: plus(network.Addr(), 3), Port: o.HostPortStart + i,
		})
	}
	// First the client's, then each node's. Link number FT leads from node F to node T; the client is number 0.
	for from := range o.Nodes + 1 {
		for to := 1; to <= o.Nodes; to++ {
			if from == to {
				continue
			}
			l := Link{From: topology.Client, To: fmt.Sprintf("n%d", to), Listen: 5400 + 10*from + to,
				Delay: o.BaseDelay + time.Duration(len(c.Links))*o.DelayStep}
			if from == 0 {
				l.Port = o.HostPortStart + linkOffset + to - 1
			} else {
				l.From = fmt.Sprintf("n%d", from)
			}
			c.Links = append(c.Links, l)
		}
	}
	return c, nil
}
