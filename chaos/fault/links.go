package fault

import (
	"fmt"
	"slices"
	"sync"

	"github.com/spockchaos/spockchaos/topology/link"
)

// Links lets several faults act on one link. Per link and direction it keeps the
// effects that are on, and sets the gate to their sum: a stall wins, the largest latency and
// the lowest rate count. Its methods are safe for concurrent use.
type Links struct {
	lookup func(name string) (Link, bool)

	mu   sync.Mutex
	ends map[end][]*effect
}

// end is one direction of one link.
type end struct {
	link string
	dir  link.Direction
}

// effect is one fault's share in a gate.
type effect struct {
	fault int // its id in the plan
	gate  link.Gate
	// A cut acts once, so a gate that is set anew must ask only for what is left of it.
	armedCuts, armedBytes int64
}

// NewLinks composes the effects on the links that lookup finds.
func NewLinks(lookup func(name string) (Link, bool)) *Links {
	return &Links{lookup: lookup, ends: map[end][]*effect{}}
}

// Get finds a link by its name.
func (ls *Links) Get(name string) (Link, error) {
	l, ok := ls.lookup(name)
	if !ok {
		return nil, fmt.Errorf("no link %s", name)
	}
	return l, nil
}

// Hold adds a fault's gate to the ends and returns what takes it away again, which
// may be called more than once.
func (ls *Links) hold(fault int, gate link.Gate, ends ...end) (release func(), err error) {
	for _, e := range ends {
		if _, err := ls.Get(e.link); err != nil {
			return nil, err
		}
	}
	ls.mu.Lock()
	defer ls.mu.Unlock()
	mine := make([]*effect, len(ends))
	for i, e := range ends {
		l, _ := ls.lookup(e.link)
		s := l.Stats()
		mine[i] = &effect{fault: fault, gate: gate, armedCuts: cuts(s), armedBytes: passed(s, e.dir)}
		ls.ends[e] = append(ls.ends[e], mine[i])
		ls.set(e, l)
	}
	return func() {
		ls.mu.Lock()
		defer ls.mu.Unlock()
		for i, e := range ends {
			at := slices.Index(ls.ends[e], mine[i])
			if at < 0 {
				continue
			}
			ls.ends[e] = slices.Delete(ls.ends[e], at, at+1)
			if l, ok := ls.lookup(e.link); ok {
				ls.set(e, l)
			}
		}
	}, nil
}

// set puts the sum of the effects at e on the link. mu is held.
func (ls *Links) set(e end, l Link) {
	s := l.Stats()
	gates := make([]link.Gate, 0, len(ls.ends[e]))
	for _, f := range ls.ends[e] {
		g := f.gate
		if g.CutAfter > 0 {
			g.CutAfter = max(1, g.CutAfter-(passed(s, e.dir)-f.armedBytes))
			if cuts(s) > f.armedCuts {
				g.CutAfter = 0
			}
		}
		gates = append(gates, g)
	}
	l.Set(e.dir, compose(gates))
}

// stalledBy are the ids of the faults other than mine that stall a direction of the link.
func (ls *Links) stalledBy(name string, mine int) []int {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	var ids []int
	for _, dir := range []link.Direction{link.Upstream, link.Downstream} {
		for _, f := range ls.ends[end{name, dir}] {
			if f.gate.Stall && f.fault != mine && !slices.Contains(ids, f.fault) {
				ids = append(ids, f.fault)
			}
		}
	}
	return ids
}

// compose is the gate that does what all gates together do.
func compose(gates []link.Gate) link.Gate {
	var sum link.Gate
	for _, g := range gates {
		sum.Stall = sum.Stall || g.Stall
		if g.Latency > sum.Latency {
			sum.Latency = g.Latency
		}
		sum.Jitter = max(sum.Jitter, g.Jitter)
		sum.Rate = leastSet(sum.Rate, g.Rate)
		sum.CutAfter = leastSet(sum.CutAfter, g.CutAfter)
	}
	return sum
}

// leastSet is the smaller of two limits of which 0 is none.
func leastSet(a, b int64) int64 {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}
