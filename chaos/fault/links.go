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
	cuts map[end]int64 // CutAfter of the gate that was set last
}

// end is one direction of one link.
type end struct {
	link string
	dir  link.Direction
}

// effect is one fault's share in a gate.
type effect struct {
	fault int // its id in the plan
	// gate is its share. A cut acts once: CutAfter counts down to what is left of it.
	gate link.Gate
}

// NewLinks composes the effects on the links that lookup finds.
func NewLinks(lookup func(name string) (Link, bool)) *Links {
	return &Links{lookup: lookup, ends: map[end][]*effect{}, cuts: map[end]int64{}}
}

// Get finds a link by its name.
func (ls *Links) Get(name string) (Link, error) {
	l, ok := ls.lookup(name)
	if !ok {
		return nil, fmt.Errorf("no link %s", name)
	}
	return l, nil
}

// hold adds a fault's gate to the ends and returns what takes it away again, which
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
		mine[i] = &effect{fault: fault, gate: gate}
		ls.change(e, l, func() { ls.ends[e] = append(ls.ends[e], mine[i]) })
	}
	return func() {
		ls.mu.Lock()
		defer ls.mu.Unlock()
		for i, e := range ends {
			if !slices.Contains(ls.ends[e], mine[i]) {
				continue
			}
			l, _ := ls.lookup(e.link)
			ls.change(e, l, func() {
				ls.ends[e] = slices.DeleteFunc(ls.ends[e], func(f *effect) bool { return f == mine[i] })
			})
		}
	}, nil
}

// change changes the effects at e and sets the gate to their new sum, in one step. mu is held.
func (ls *Links) change(e end, l Link, edit func()) {
	l.Update(e.dir, func(now link.Gate) link.Gate {
		ls.spend(e, now.CutAfter)
		edit()
		gates := make([]link.Gate, len(ls.ends[e]))
		for i, f := range ls.ends[e] {
			gates[i] = f.gate
		}
		sum := compose(gates)
		ls.cuts[e] = sum.CutAfter
		return sum
	})
}

// spend takes from the effects at e what their cuts have used up since the gate was set, of
// which left bytes remain, so that setting it anew does not arm them again.
func (ls *Links) spend(e end, left int64) {
	was := ls.cuts[e]
	for _, f := range ls.ends[e] {
		switch {
		case f.gate.CutAfter == 0 || was == 0:
		case f.gate.CutAfter == was && left == 0:
			f.gate.CutAfter = 0 // it has acted
		default:
			f.gate.CutAfter = max(1, f.gate.CutAfter-(was-left))
		}
	}
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
