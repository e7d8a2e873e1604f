package checker

import (
	"fmt"
	"slices"
	"time"

	"github.com/spockchaos/spockchaos/checker/rundir"
)

// standstills says where the watcher, which tries every node several times a second from the baseline to the snapshots, wrote
// nothing about any of them for longer than maxBlind: this program or the whole machine stood still, and nobody saw what became of the nodes
// meanwhile. What counts is when looks ended: one that had begun before does not end while all stands still. That takes nothing from what was found, and during chaos blindness makes the verdict inconclusive; anywhere else it is only told.
func standstills(in *input) []string {
	var looks []rundir.Sample // of all nodes, failed ones too
	for _, s := range in.samples {
		looks = append(looks, s...)
	}
	slices.SortFunc(looks, func(a, b rundir.Sample) int { return a.End.Compare(b.End) })
	from, ok := in.phase(rundir.PhaseBaseline)
	if !ok || len(looks) == 0 {
		return nil
	}
	until := in.phaseEnd(rundir.PhaseSnapshot)
	if until.IsZero() { // it did not come so far
		until = looks[len(looks)-1].End
	}
	var out []string
	seen := from.Start
	for _, s := range append(looks, rundir.Sample{End: until}) {
		if s.End.After(until) {
			s.End = until
		}
		if gap := s.End.Sub(seen); gap > maxBlind {
			out = append(out, fmt.Sprintf("the watcher saw no node for %v from %s on (phase %s): this program or the machine stood still",
				gap.Round(100*time.Millisecond), seen.UTC().Format("15:04:05"), in.phaseAt(seen)))
		}
		if s.End.After(seen) {
			seen = s.End
		}
	}
	return out
}

// phaseAt is the phase that was on at a time.
func (in *input) phaseAt(at time.Time) string {
	name := ""
	for _, p := range in.round.Phases {
		if !p.Start.After(at) {
			name = p.Name
		}
	}
	return name
}
