package docker

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/spockchaos/spockchaos/topology/engine/pglogical"
)

func TestSubnets(t *testing.T) {
	all := subnets(netip.MustParsePrefix("10.200.7.0/24"), MaxNodes)
	for i, s := range all {
		for _, a := range []netip.Addr{s.gateway, s.node, s.links} {
			if !s.prefix.Contains(a) || a == s.prefix.Addr() {
				t.Errorf("%v has %v", s.prefix, a)
			}
		}
		for _, other := range all[:i] {
			if s.prefix.Overlaps(other.prefix) {
				t.Errorf("%v meets %v", s.prefix, other.prefix)
			}
		}
	}
	s := all[1]
	if got := fmt.Sprint(s.prefix, s.gateway, s.node, s.links); got != "10.200.7.16/28 10.200.7.17 10.200.7.18 10.200.7.19" {
		t.Error(got)
	}
}

func TestPickBlock(t *testing.T) {
	// Of the whole space only one block is left.
	var taken []netip.Prefix
	free := netip.MustParsePrefix("10.255.255.0/24")
	for p := space; p.Bits() < blockBits; p = netip.PrefixFrom(free.Addr(), p.Bits()+1).Masked() {
		sibling := number(p.Addr()) // the half without the free block
		taken = append(taken, netip.PrefixFrom(addrOf(sibling), p.Bits()+1))
	}
	if block, err := pickBlock(taken); block != free || err != nil {
		t.Fatalf("%v, %v, where only %v is free", block, err, free)
	}
	if block, err := pickBlock([]netip.Prefix{space}); err == nil {
		t.Errorf("%v, where nothing is free", block)
	}
	block, err := pickBlock(nil)
	if err != nil || !space.Contains(block.Addr()) || block.Bits() != blockBits || block.Masked() != block {
		t.Errorf("%v, %v", block, err)
	}
}

func TestParseRoute(t *testing.T) {
	for line, want := range map[string]string{
		"eth0\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0":    "",
		"docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0": "172.17.0.0/16",
		"br\t0A05C80A\t00000000\t0001\t0\t0\t0\tFEFFFFFF\t0\t0\t0":      "10.200.5.10/31",
		"Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask": "",
		"": "", "a b c d e f g h": "",
	} {
		got, ok := parseRoute(line)
		if ok != (want != "") || ok && got.String() != want {
			t.Errorf("%q: %v, %v, want %s", line, got, ok, want)
		}
	}
}

func TestLook(t *testing.T) {
	const text = `version postgres (PostgreSQL) 17.11 (Debian 17.11-0+deb13u1)
output_plugin_libraries
library plpgsql.so
library pglogical.so
library pglogical_output.so
control pglogical.control # pglogical extension
control pglogical.control default_version = '2.4.5'
control other.control default_version = '1'
`
	got := parseLook(text)
	version, err := pglogical.New().Available(got)
	if got.version != "postgres (PostgreSQL) 17.11 (Debian 17.11-0+deb13u1)" || !got.pluginList || version != "2.4.5" || err != nil {
		t.Errorf("%+v, %v, %v", got, version, err)
	}
	for _, missing := range []string{"library pglogical.so\n", "library pglogical_output.so\n", "control pglogical.control default_version = '2.4.5'\n"} {
		if v, err := pglogical.New().Available(parseLook(strings.Replace(text, missing, "", 1))); err == nil {
			t.Errorf("without %q there is %s", missing, v)
		}
	}
}
