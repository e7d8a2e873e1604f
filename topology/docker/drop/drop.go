// Package drop has the kernel of this machine, or of the network namespace that the program runs in, drop every packet from
// and to one address, and count them. It is what a node's container is given a companion for.
package drop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// Command is the name of the program's subcommand: with an address it drops until it is told to end, with Count it
// prints how many packets were dropped, in and out.
const (
	Command = "drop-packets"
	Count   = "count"
)

// table is ours alone: nothing else is in it, and nothing else is touched.
var table = nftables.Table{Family: nftables.TableFamilyINet, Name: "spockchaos_drop"}

// The two chains: in by source, out by destination, at these offsets of an IPv4 header.
const (
	chainIn, offsetIn   = "in", 12
	chainOut, offsetOut = "out", 16
	addrSize            = 4
	familyIPv4          = 2 // NFPROTO_IPV4
)

// Run drops until ctx is done, and takes its rules away then.
func Run(ctx context.Context, addr netip.Addr) error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("no nftables: %w", err)
	}
	t := c.AddTable(&nftables.Table{Family: table.Family, Name: table.Name})
	pass := nftables.ChainPolicyAccept
	for _, chain := range []struct {
		name   string
		hook   *nftables.ChainHook
		offset uint32
	}{{chainIn, nftables.ChainHookInput, offsetIn}, {chainOut, nftables.ChainHookOutput, offsetOut}} {
		ch := c.AddChain(&nftables.Chain{Name: chain.name, Table: t, Type: nftables.ChainTypeFilter,
			Hooknum: chain.hook, Priority: nftables.ChainPriorityFilter, Policy: &pass})
		c.AddRule(&nftables.Rule{Table: t, Chain: ch, Exprs: []expr.Any{
			&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{familyIPv4}},
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: chain.offset, Len: addrSize},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: addr.AsSlice()},
			&expr.Counter{},
			&expr.Verdict{Kind: expr.VerdictDrop},
		}})
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("dropping packets of %s: %w", addr, err)
	}
	<-ctx.Done()
	c.DelTable(t)
	if err := c.Flush(); err != nil {
		return fmt.Errorf("passing packets of %s again: %w", addr, err)
	}
	return nil
}

// Counted is how many packets Run, in this namespace, has dropped by now.
func Counted() (in, out int64, err error) {
	c, err := nftables.New()
	if err != nil {
		return 0, 0, fmt.Errorf("no nftables: %w", err)
	}
	for name, to := range map[string]*int64{chainIn: &in, chainOut: &out} {
		rules, err := c.GetRules(&nftables.Table{Family: table.Family, Name: table.Name}, &nftables.Chain{Name: name})
		if err != nil {
			return 0, 0, fmt.Errorf("counting dropped packets: %w", err)
		}
		counter := counterOf(rules)
		if counter == nil {
			return 0, 0, errors.New("no packets are dropped here")
		}
		*to = int64(counter.Packets)
	}
	return in, out, nil
}

func counterOf(rules []*nftables.Rule) *expr.Counter {
	for _, r := range rules {
		for _, e := range r.Exprs {
			if counter, ok := e.(*expr.Counter); ok {
				return counter
			}
		}
	}
	return nil
}

// Main is the subcommand.
func Main(ctx context.Context, arg string, stdout io.Writer) error {
	if arg == Count {
		in, out, err := Counted()
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(stdout, in, out)
		return err
	}
	addr, err := netip.ParseAddr(arg)
	if err != nil || !addr.Is4() {
		return fmt.Errorf("%q is no IPv4 address", arg)
	}
	return Run(ctx, addr)
}
