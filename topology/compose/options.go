package compose

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/spockchaos/spockchaos/topology/server"
)

// Bounds of what can be asked for.
const (
	MinNodes = 2
	MaxNodes = 9
	MinPort  = 1024
	MaxPort  = 65535 - lastOffset
	MaxDelay = time.Minute // of a link
)

// Engines that a file can be made for: those that package image has images of.
const (
	Pglogical = "pglogical"
	Spock     = "spock"
)

// Options say what cluster a file describes.
type Options struct {
	// Nodes is how many there are: n1 to nN.
	Nodes  int
	Engine string
	// Postgres is the major version; 0 is the engine's default.
	Postgres int
	// The link with index i (from 0, in the order of Cluster.Links) delays every byte by BaseDelay + i × DelayStep, each way.
	BaseDelay, DelayStep time.Duration
	// HostPortStart is the first of the ports of 127.0.0.1 that are published.
	HostPortStart int
	// Subnet is what the networks of the nodes are cut out of.
	Subnet string
}

// Defaults are the options of a file that nobody asked anything special of.
func Defaults() Options {
	return Options{Nodes: 3, Engine: Pglogical, HostPortStart: 15432, Subnet: "10.191.0.0/24"}
}

// Who the harness and the nodes are to each other. Every port is published on the loopback address alone, so the password keeps
// nobody out who could not read it in the file.
const (
	database = server.Database
	user     = server.Superuser
	password = "spockchaos"
)

// networkBits is the size of a node's network: gateway, node, links and some room.
const networkBits = 28

// parseSubnet returns the networks of n nodes.
func parseSubnet(s string, n int) ([]netip.Prefix, error) {
	all, err := netip.ParsePrefix(s)
	if err != nil {
		return nil, fmt.Errorf("subnet %q is not an address with a length, such as %s", s, Defaults().Subnet)
	}
	if !all.Addr().Is4() {
		return nil, fmt.Errorf("subnet %s is not IPv4", s)
	}
	if all != all.Masked() {
		return nil, fmt.Errorf("subnet %s begins at %s", s, all.Masked().Addr())
	}
	need := networkBits // bits of the smallest subnet with room for n networks
	for 1<<(networkBits-need) < n {
		need--
	}
	if all.Bits() > need {
		return nil, fmt.Errorf("subnet %s is too small: %d nodes need a /%d", s, n, need)
	}
	if a := all.Addr(); a.IsLoopback() || a.IsMulticast() || a.IsLinkLocalUnicast() || a.IsUnspecified() || a.As4()[0] >= 240 || a.As4()[0] == 0 {
		return nil, fmt.Errorf("subnet %s cannot be a network of containers", s)
	}
	var networks []netip.Prefix
	for i := range n {
		networks = append(networks, netip.PrefixFrom(plus(all.Addr(), i<<(32-networkBits)), networkBits))
	}
	return networks, nil
}

// plus is the address n further on.
func plus(a netip.Addr, n int) netip.Addr {
	b := a.As4()
	for i := 3; n > 0; i-- {
		n += int(b[i])
		b[i] = byte(n)
		n >>= 8
	}
	return netip.AddrFrom4(b)
}
