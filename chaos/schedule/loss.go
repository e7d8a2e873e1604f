package schedule

import (
	"slices"
	"time"

	"github.com/spockchaos/spockchaos/chaos/fault"
	"github.com/spockchaos/spockchaos/checker/rundir"
)

// leastPeace is how long before the loss the target lags and the source is left in peace.
func leastPeace(chaos time.Duration) time.Duration {
	share := func(s float64) time.Duration { return time.Duration(s * float64(chaos)) }
	return min(max(2500*time.Millisecond, share(0.15)), share(0.4))
}

// loss casts the parts of a loss round and plans its own two faults: the lag and the loss.
func (d *drawing) loss() {
	survivors := slices.DeleteFunc(slices.Clone(d.cfg.Nodes), func(n string) bool { return n == d.cfg.Failed })
	d.r.Shuffle(len(survivors), func(i, j int) { survivors[i], survivors[j] = survivors[j], survivors[i] })
	d.round.Target, d.round.Source = survivors[0], survivors[1]
	d.round.Coordinator = survivors[d.r.IntN(len(survivors))]
	d.round.LossAt = d.cfg.Chaos
	d.round.LagAt = d.within(d.part(0.5), min(d.part(0.8), d.cfg.Chaos-leastPeace(d.cfg.Chaos)))

	d.lag = len(d.round.Faults)
	d.round.Faults = append(d.round.Faults, d.lagFault())
	d.end = len(d.round.Faults)
	d.round.Faults = append(d.round.Faults, rundir.PlannedFault{
		Name: "loss", Target: d.cfg.Failed, Parameters: fault.Params{}, At: d.round.LossAt,
	})
}

// lagFault is what makes the target lag behind the source until all is healed. slow and lag are too
// weak for it. If none of the strong ones may be drawn, the seed's own way is taken.
func (d *drawing) lagFault() rundir.PlannedFault {
	p := rundir.PlannedFault{
		Name: "subscription_disabled", Target: fault.LinkName(d.round.Target, d.cfg.Failed),
		Parameters: fault.Params{}, At: d.round.LagAt,
	}
	var ways []string
	for _, name := range []string{"subscription_disabled", "stall", "partition_one_way"} {
		if slices.Contains(d.cfg.Faults, name) {
			ways = append(ways, name)
		}
	}
	if len(ways) > 0 {
		p.Name = ways[d.r.IntN(len(ways))]
	}
	if p.Name == "stall" {
		p.Parameters = fault.Params{"direction": "down"}
	}
	return p
}
