package fault

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/spockchaos/spockchaos/topology"
	"github.com/spockchaos/spockchaos/topology/link"
)

// Links lets several faults act on one link. Per link and direction it keeps the
// effects that are on, and sets the gate to their sum: a stall wins, the largest latency and
// the lowest rate count. Its methods are safe for concurrent use.
type Links struct {
	lookup func(name string) (topology.Link, bool)

	mu   sync.Mutex
	ends map[end]*effects
}

// end is one direction of one link.
type end struct {
	link string
	dir  link.Direction
}

// effects are what faults do to one end.
type effects struct {
	on  []effect
	cut int64 // CutAfter of the gate that was set last
	// doubt: the last change failed, and the gate may be as it was before or after it.
	doubt bool
}

// effect is one fault's share in a gate.
type effect struct {
	share *share
	// gate is its part. A cut acts once: CutAfter counts down to what is left of it.
	gate link.Gate
}

// share is what a fault does to the ends. It is over when release succeeds.
type share struct {
	links *Links
	fault int // its id in the plan
	ends  []end
}

// NewLinks composes the effects on the links that lookup finds.
func NewLinks(lookup func(name string) (topology.Link, bool)) *Links {
	return &Links{lookup: lookup, ends: map[end]*effects{}}
}

// Get finds a link by its name.
func (ls *Links) Get(name string) (topology.Link, error) {
	l, ok := ls.lookup(name)
	if !ok {
		return nil, fmt.Errorf("no link %s", name)
	}
	return l, nil
}

// hold adds a fault's gate to the ends. With an error the share is nil if nothing was begun; otherwise it
// is on at some of the ends, or may be, and is to be released.
func (ls *Links) hold(ctx context.Context, fault int, gate link.Gate, ends ...end) (*share, error) {
	for _, e := range ends {
		if _, err := ls.Get(e.link); err != nil {
			return nil, err
		}
	}
	ls.mu.Lock()
	defer ls.mu.Unlock()
	s := &share{links: ls, fault: fault, ends: ends}
	for _, e := range ends {
		err := ls.change(ctx, e, func(on []effect) []effect { return append(on, effect{s, gate}) })
		if err != nil {
			return s, err
		}
	}
	return s, nil
}

// release takes the share away again, wherever it is or may be. It may be called more than once, and must
// be after an error.
func (s *share) release(ctx context.Context) error {
	s.links.mu.Lock()
	defer s.links.mu.Unlock()
	for len(s.ends) > 0 {
		err := s.links.change(ctx, s.ends[0], func(on []effect) []effect {
			return slices.DeleteFunc(on, func(f effect) bool { return f.share == s })
		})
		if err != nil {
			return err
		}
		s.ends = s.ends[1:]
	}
	return nil
}

// change changes the effects at e and sets the gate to their new sum, in one step. edit is given a copy and
// may be called more than once. mu is held.
func (ls *Links) change(ctx context.Context, e end, edit func([]effect) []effect) error {
	l, err := ls.Get(e.link)
	if err != nil {
		return err
	}
	now := ls.ends[e]
	if now == nil {
		now = &effects{}
		ls.ends[e] = now
	}
	var next effects
	err = l.Update(ctx, e.dir, func(g link.Gate) link.Gate {
		next.on = edit(now.left(g.CutAfter))
		gates := make([]link.Gate, len(next.on))
		for i, f := range next.on {
			gates[i] = f.gate
		}
		sum := compose(gates)
		next.cut = sum.CutAfter
		return sum
	})
	if err != nil {
		now.doubt = true
		return err
	}
	ls.ends[e] = &next
	return nil
}

// left are the effects without what their cuts have used up since the gate was set, of
// which left bytes remain, so that setting it anew does not arm them again.
func (es *effects) left(left int64) []effect {
	on := slices.Clone(es.on)
	for i := range on {
		c := &on[i].gate.CutAfter
		switch {
		case es.doubt:
			*c = min(*c, left) // rather too early than twice
		case *c == 0 || es.cut == 0:
		case *c == es.cut && left == 0:
			*c = 0 // it has acted
		default:
			*c = max(1, *c-(es.cut-left))
		}
	}
	return on
}

// stalledBy are the ids of the faults other than mine that stall a direction of the link.
func (ls *Links) stalledBy(name string, mine int) []int {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	var ids []int
	for _, dir := range []link.Direction{link.Upstream, link.Downstream} {
		es := ls.ends[end{name, dir}]
		if es == nil {
			continue
		}
		for _, f := range es.on {
			if id := f.share.fault; f.gate.Stall && id != mine && !slices.Contains(ids, id) {
				ids = append(ids, id)
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
