package schedule

import (
	"math"
	"slices"
	"time"

	"github.com/spockchaos/spockchaos/chaos/fault"
	"github.com/spockchaos/spockchaos/checker/rundir"
)

// forever is the end of a fault that stays on.
const forever = time.Duration(math.MaxInt64 / 4)

func endOf(p rundir.PlannedFault) time.Duration {
	if p.For == 0 {
		return forever
	}
	return p.At + p.For
}

// overlap says whether two faults are on at the same time, or within gap of each other.
func overlap(a, b rundir.PlannedFault, gap time.Duration) bool {
	return a.At < endOf(b)+gap && b.At < endOf(a)+gap
}

func share(a, b []string) bool {
	return slices.ContainsFunc(a, func(s string) bool { return slices.Contains(b, s) })
}

// allows says whether a fault may be added to the plan.
func (d *drawing) allows(p rundir.PlannedFault) bool {
	f, ok := fault.ByName(p.Name)
	if !ok {
		return false
	}
	reach, err := f.Touches(d.world(), p.Target, p.Parameters)
	if err != nil {
		return false
	}
	if d.round.Kind == rundir.KindLoss && !d.keepsPeace(p, f, reach) {
		return false
	}
	for _, other := range d.round.Faults {
		if other.Name != "loss" && d.collides(p, f, reach, other) {
			return false
		}
	}
	return d.leavesOneUp(p, f)
}

// keepsPeace holds a fault to what a loss round needs: from the lag to the loss nothing
// but the lag stands between the failed node and the source, the target is up when its
// lag begins, and every survivor is up at the loss.
func (d *drawing) keepsPeace(p rundir.PlannedFault, f fault.Fault, reach fault.Reach) bool {
	chaos, end := d.cfg.Chaos, endOf(p)
	settle := linkSettle(chaos)
	if f.Class() != fault.OnLink {
		settle = nodeSettle(chaos)
	}
	peace := d.round.protected()
	if (share(reach.Nodes, peace.Nodes) || share(reach.Links, peace.Links)) && end+settle > d.round.LagAt {
		return false
	}
	if f.Class() == fault.OnNode {
		lag := rundir.PlannedFault{At: d.round.LagAt, For: 2 * time.Second}
		if slices.Contains(reach.Nodes, d.round.Target) && overlap(p, lag, settle) {
			return false
		}
		return end+backBefore(chaos) <= d.round.LossAt
	}
	return true
}

// collides says whether two faults at the same time would only take each other's effect away. Faults
// on links and clocks never do, unless they are the same fault on the same link or node.
func (d *drawing) collides(p rundir.PlannedFault, f fault.Fault, reach fault.Reach, other rundir.PlannedFault) bool {
	g, ok := fault.ByName(other.Name)
	if !ok {
		return true
	}
	otherReach, err := g.Touches(d.world(), other.Target, other.Parameters)
	if err != nil {
		return true
	}
	needs := func(r fault.Reach) []string { return append(slices.Clone(r.Nodes), r.Needs...) }
	switch {
	case p.Name == other.Name && share(reach.Links, otherReach.Links):
		return overlap(p, other, linkSettle(d.cfg.Chaos))
	case f.Class() == fault.OnClock && g.Class() == fault.OnClock:
		return share(reach.Nodes, otherReach.Nodes) && overlap(p, other, linkSettle(d.cfg.Chaos))
	case f.Class() == fault.OnLink || g.Class() == fault.OnLink || f.Class() == fault.OnClock || g.Class() == fault.OnClock:
		return false
	case f.Class() == fault.OnNode || g.Class() == fault.OnNode:
		// The round's own lag survives a restart of its node: keepsPeace guards its beginning.
		if other.For == 0 {
			return false
		}
		return share(needs(reach), needs(otherReach)) && overlap(p, other, nodeSettle(d.cfg.Chaos))
	default:
		same := share(reach.Links, otherReach.Links) || share(reach.Nodes, otherReach.Nodes)
		return same && overlap(p, other, linkSettle(d.cfg.Chaos))
	}
}

// leavesOneUp keeps one node in service at any time.
func (d *drawing) leavesOneUp(p rundir.PlannedFault, f fault.Fault) bool {
	if f.Class() != fault.OnNode {
		return true
	}
	out := map[string]bool{p.Target: true}
	for _, other := range d.round.Faults {
		if g, ok := fault.ByName(other.Name); ok && g.Class() == fault.OnNode && overlap(p, other, nodeSettle(d.cfg.Chaos)) {
			out[other.Target] = true
		}
	}
	return len(out) < len(d.cfg.Nodes)
}
