package schedule

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/spockchaos/spockchaos/chaos/fault"
	"github.com/spockchaos/spockchaos/checker/rundir"
)

// Draw decides a round. The same seed, round number (from 1) and configuration give the
// same round. An error says what of the configuration no round can be drawn for.
func Draw(seed uint64, number int, cfg Config) (Round, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return Round{}, err
	}
	d := &drawing{
		// A stream of its own for each round: leaving one out does not change the next.
		r:   rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15*uint64(number))),
		cfg: cfg,
		round: Round{
			Number: number, Seed: seed, Kind: rundir.KindLoss, Failed: cfg.Failed,
			Nodes: slices.Clone(cfg.Nodes), Chaos: cfg.Chaos,
		},
	}
	// The dice are thrown in any case, so that the kind of a round does not depend on the cluster's size.
	if crash := d.r.IntN(4) == 0; crash && number > 1 {
		d.round.Kind = rundir.KindCrash
	}
	if len(cfg.Nodes) == 2 {
		d.round.Kind = rundir.KindCrash
		d.round.Note = "two nodes leave one survivor and nobody for it to lag behind: every round is a crash round and no rescue is tested, so the verdict cannot be pass; use 3 nodes or more"
	}
	if d.round.Kind == rundir.KindLoss {
		d.loss()
	} else {
		d.crash()
	}
	d.stress()
	d.number()
	return d.round, nil
}

// drawing is a round in the making.
type drawing struct {
	r     *rand.Rand
	cfg   Config
	round Round
	lag   int // index of the round's lag fault in round.Faults, in a loss round
	end   int // and of the loss
}

func (d *drawing) world() fault.World { return fault.World{Nodes: d.cfg.Nodes} }

// within draws a time in [from, to], in whole milliseconds.
func (d *drawing) within(from, to time.Duration) time.Duration {
	if to <= from {
		return from.Truncate(time.Millisecond)
	}
	return (from + time.Duration(d.r.Int64N(int64(to-from)+1))).Truncate(time.Millisecond)
}

// part is a share of the chaos phase.
func (d *drawing) part(share float64) time.Duration {
	return time.Duration(share * float64(d.cfg.Chaos))
}

// crash plans the death and return of the failed node.
func (d *drawing) crash() {
	length := d.within(min(time.Second, d.part(0.15)), min(3*time.Second, d.part(0.25)))
	d.round.Faults = append(d.round.Faults, rundir.PlannedFault{
		Name: "kill", Target: d.cfg.Failed, Parameters: fault.Params{},
		At: d.within(d.part(0.3), d.part(0.6)), For: length,
	})
}

// number puts the plan in the order of time and gives the ids.
func (d *drawing) number() {
	faults := d.round.Faults
	order := make([]int, len(faults))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return int(faults[a].At - faults[b].At) })
	sorted := make([]rundir.PlannedFault, len(faults))
	for at, i := range order {
		sorted[at] = faults[i]
		sorted[at].ID = at + 1
		if d.round.Kind != rundir.KindLoss {
			continue
		}
		switch i {
		case d.lag:
			d.round.LagID = at + 1
		case d.end:
			d.round.LossID = at + 1
		}
	}
	d.round.Faults = sorted
}
