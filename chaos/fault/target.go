package fault

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/spockchaos/spockchaos/topology"
)

// Targets are written as
//
//	n1       a node
//	n2>n1    the link by which n2 dials n1: n2 is "client" or the subscriber of provider n1
//	n1<>n3   both links between two nodes

// LinkName is the name of the link by which from dials to.
func LinkName(from, to string) string { return from + ">" + to }

// ParseLink reads a link's name.
func ParseLink(target string) (from, to string, err error) {
	from, to, ok := strings.Cut(target, ">")
	if !ok || !isName(from) || !isName(to) || from == to || to == topology.Client {
		return "", "", fmt.Errorf("target %q is not a link such as n2>n1", target)
	}
	return from, to, nil
}

// ParsePair reads a pair of nodes.
func ParsePair(target string) (a, b string, err error) {
	a, b, ok := strings.Cut(target, "<>")
	if !ok || !isName(a) || !isName(b) || a == b || a == topology.Client || b == topology.Client {
		return "", "", fmt.Errorf("target %q is not a pair of nodes such as n1<>n3", target)
	}
	return a, b, nil
}

func isName(s string) bool { return s != "" && !strings.ContainsAny(s, "<> ") }

// inWorld checks that the names are nodes of the cluster.
func inWorld(w World, names ...string) error {
	for _, n := range names {
		if !slices.Contains(w.Nodes, n) {
			return fmt.Errorf("no node %q in the cluster", n)
		}
	}
	return nil
}

func parseNode(w World, target string) (string, error) { return target, inWorld(w, target) }

// parsePeers reads a link between two nodes of the cluster: subscriber and provider.
func parsePeers(w World, target string) (subscriber, provider string, err error) {
	subscriber, provider, err = ParseLink(target)
	if err != nil {
		return "", "", err
	}
	return subscriber, provider, inWorld(w, subscriber, provider)
}

// checkLink checks that the target is a link of the cluster; the client's links are, too.
func checkLink(w World, target string) error {
	from, to, err := ParseLink(target)
	if err != nil {
		return err
	}
	if from == topology.Client {
		return inWorld(w, to)
	}
	return inWorld(w, from, to)
}

func drawNode(r *rand.Rand, w World) string { return w.Nodes[r.IntN(len(w.Nodes))] }

// drawPeers draws two different nodes, in random order.
func drawPeers(r *rand.Rand, w World) (a, b string) {
	i := r.IntN(len(w.Nodes))
	j := r.IntN(len(w.Nodes) - 1)
	if j >= i {
		j++
	}
	return w.Nodes[i], w.Nodes[j]
}

// drawLink draws a link; about one in four is a client's.
func drawLink(r *rand.Rand, w World) string {
	if r.IntN(4) == 0 {
		return LinkName(topology.Client, drawNode(r, w))
	}
	return LinkName(drawPeers(r, w))
}
