package schedule

import (
	"slices"
	"time"

	"github.com/spockchaos/spockchaos/chaos/fault"
	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/topology"
)

// tries bounds how often a place for one fault is looked for.
const tries = 60

// stress draws the faults beside the round's own: 6 to 12 for twenty seconds of
// chaos, anywhere the rules allow.
func (d *drawing) stress() {
	if d.round.Kind == rundir.KindLoss {
		d.standing()
	}
	count := max(2, int(d.cfg.Chaos.Seconds()/20*float64(6+d.r.IntN(7))+0.5))
	for i := range count {
		for range tries {
			p, ok := d.candidate(i == 0)
			if ok && d.allows(p) {
				d.round.Faults = append(d.round.Faults, p)
				break
			}
		}
	}
}

// candidate draws a fault. The first of a round begins early.
func (d *drawing) candidate(first bool) (rundir.PlannedFault, bool) {
	if len(d.cfg.Faults) == 0 {
		return rundir.PlannedFault{}, false
	}
	f, ok := fault.ByName(d.cfg.Faults[d.r.IntN(len(d.cfg.Faults))])
	if !ok {
		return rundir.PlannedFault{}, false
	}
	target, params := f.Draw(d.r, d.world())
	span := f.Span()
	length := d.within(min(span.Min, d.part(0.2)), min(span.Max, d.part(0.4)))
	from, to := d.part(0.01), d.part(0.98)-length
	if first {
		to = min(to, d.part(0.05))
	}
	return rundir.PlannedFault{
		Name: f.Name(), Target: target, Parameters: params, At: d.within(from, to), For: length,
	}, true
}

// standing draws up to two gentle faults on links among survivors that stay on across the
// loss and the rescue: gentle, because a rescue has its time limit.
func (d *drawing) standing() {
	for range d.r.IntN(3) {
		i := d.r.IntN(len(d.cfg.Nodes))
		j := d.r.IntN(len(d.cfg.Nodes))
		p := rundir.PlannedFault{
			Name:   []string{"lag", "slow"}[d.r.IntN(2)],
			Target: fault.LinkName(d.cfg.Nodes[i], d.cfg.Nodes[j]),
			At:     d.within(d.part(0.4), d.part(0.9)),
		}
		if p.Name == "lag" {
			p.Parameters = fault.Params{"latency_ms": float64(2 + d.r.IntN(14)), "jitter_ms": float64(1 + d.r.IntN(2))}
		} else {
			p.Parameters = fault.Params{"bytes_per_second": float64(1024 * 1024 * (4 + d.r.IntN(9)))}
		}
		among := i != j && d.cfg.Nodes[i] != d.cfg.Failed && d.cfg.Nodes[j] != d.cfg.Failed
		if among && slices.Contains(d.cfg.Faults, p.Name) && d.allows(p) {
			d.round.Faults = append(d.round.Faults, p)
		}
	}
}

// Gaps that the rules keep, for a chaos phase of the given length.

// nodeSettle is how long a node needs after a node fault until it replicates again.
func nodeSettle(chaos time.Duration) time.Duration { return min(3*time.Second, chaos/7) }

// linkSettle is the same for a link.
func linkSettle(chaos time.Duration) time.Duration { return min(2*time.Second, chaos/10) }

// backBefore is how long before the loss every survivor must be in service again.
func backBefore(chaos time.Duration) time.Duration { return min(4*time.Second, chaos/4) }

// protected is what is left in peace from LagAt to LossAt of a loss round.
func (r Round) protected() fault.Reach {
	return fault.Reach{
		Nodes: []string{r.Failed, r.Source},
		Links: []string{fault.LinkName(r.Source, r.Failed), fault.LinkName(topology.Client, r.Failed)},
	}
}
