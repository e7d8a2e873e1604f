package docker

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
)

// Each node has a network of its own, which it shares with the links alone: so there is no way from one node to
// another but a link. A cluster's networks are cut out of one block of addresses.
const (
	blockBits   = 24 // of a cluster
	networkBits = 28 // of a node
	blockTries  = 20
)

// space is what the blocks are cut out of.
var space = netip.MustParsePrefix("10.192.0.0/10")

// subnet is one node's network.
type subnet struct {
	prefix               netip.Prefix
	gateway, node, links netip.Addr
}

// subnets cuts a block into n networks.
func subnets(block netip.Prefix, n int) []subnet {
	all := make([]subnet, n)
	for i := range all {
		first := number(block.Addr()) + uint32(i)<<(32-networkBits)
		all[i] = subnet{
			prefix:  netip.PrefixFrom(addrOf(first), networkBits),
			gateway: addrOf(first + 1), node: addrOf(first + 2), links: addrOf(first + 3),
		}
	}
	return all
}

func number(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

func addrOf(n uint32) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], n)
	return netip.AddrFrom4(b)
}

// pickBlock finds a block that meets none of taken. Where the search begins is random: clusters that are made at the same
// time then hardly ever want the same.
func pickBlock(taken []netip.Prefix) (netip.Prefix, error) {
	blocks := uint32(1) << (blockBits - space.Bits())
	start := rand.Uint32N(blocks)
	for i := range blocks {
		at := number(space.Addr()) + (start+i)%blocks<<(32-blockBits)
		block := netip.PrefixFrom(addrOf(at), blockBits)
		if !slices.ContainsFunc(taken, block.Overlaps) {
			return block, nil
		}
	}
	return netip.Prefix{}, fmt.Errorf("no free block of addresses in %s", space)
}

// makeNetworks makes a network for each node.
func (c *Cluster) makeNetworks(ctx context.Context) error {
	for try := 1; ; try++ {
		taken, err := takenAddrs(ctx, c.api)
		if err != nil {
			return err
		}
		block, err := pickBlock(taken)
		if err != nil {
			return err
		}
		err = c.tryNetworks(ctx, subnets(block, len(c.nodes)))
		if !errors.Is(err, ErrInUse) || try == blockTries {
			return err
		}
		// Somebody was faster.
		for _, n := range c.nodes {
			if err := c.api.RemoveNetwork(ctx, n.network()); err != nil {
				return err
			}
		}
	}
}

func (c *Cluster) tryNetworks(ctx context.Context, nets []subnet) error {
	var g errgroup.Group
	for i, n := range c.nodes {
		n.subnet = nets[i]
		g.Go(func() error {
			ctx, cancel := steady(ctx)
			defer cancel()
			_, err := c.api.CreateNetwork(ctx, NetworkSpec{Name: n.network(), Labels: c.run.labels,
				Subnet: n.subnet.prefix.String(), Gateway: n.subnet.gateway.String()})
			return n.wrap("making the network of", err)
		})
	}
	return g.Wait()
}

// takenAddrs are the addresses that the engine's networks and this machine's routes have.
func takenAddrs(ctx context.Context, api API) ([]netip.Prefix, error) {
	networks, err := api.Networks(ctx, "")
	if err != nil {
		return nil, fmt.Errorf("listing networks: %w", err)
	}
	var taken []netip.Prefix
	for _, n := range networks {
		for _, s := range n.Subnets {
			if p, err := netip.ParsePrefix(s); err == nil {
				taken = append(taken, p)
			}
		}
	}
	f, err := os.Open("/proc/net/route")
	if errors.Is(err, os.ErrNotExist) {
		return taken, nil // the engine still refuses what meets a network of its own
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if p, ok := parseRoute(lines.Text()); ok {
			taken = append(taken, p)
		}
	}
	return taken, nil
}

// parseRoute reads a line of /proc/net/route: interface, destination, gateway, flags, three counts, mask …; addresses
// are hexadecimal with the last byte first. The default route, which takes everything, is no answer.
func parseRoute(line string) (netip.Prefix, bool) {
	f := strings.Fields(line)
	if len(f) < 8 {
		return netip.Prefix{}, false
	}
	dest, err1 := hex.DecodeString(f[1])
	mask, err2 := hex.DecodeString(f[7])
	if err1 != nil || err2 != nil || len(dest) != 4 || len(mask) != 4 {
		return netip.Prefix{}, false
	}
	slices.Reverse(dest)
	slices.Reverse(mask)
	bits := 0
	for m := binary.BigEndian.Uint32(mask); m&(1<<31) != 0; m <<= 1 {
		bits++
	}
	return netip.PrefixFrom(netip.AddrFrom4([4]byte(dest)), bits), bits > 0
}
