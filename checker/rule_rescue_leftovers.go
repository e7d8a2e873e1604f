package checker

import (
	"fmt"

	"github.com/spockchaos/spockchaos/checker/rundir"
)

// rescueLeftovers judges that rescues cleaned up after themselves.
func rescueLeftovers(in *input, c *collector) {
	type clone struct{ node, name string }
	known := make(map[clone]bool)
	for _, l := range in.round.Leftovers {
		known[clone{l.Node, l.Name}] = true
		c.add(RescueLeftovers, l.Node, l.What, 1, func() example {
			text := fmt.Sprintf("a rescue left %s %s behind on %s", l.What, l.Name, l.Node)
			if l.Detail != "" {
				text += ": " + l.Detail
			}
			return example{key: l.Name, summary: text, details: map[string]any{"what": l.What}}
		})
	}
	healed := in.phaseEnd(rundir.PhaseHeal)
	if healed.IsZero() {
		return
	}
	for _, node := range in.round.Survivors {
		s := lastGood(in.samples[node])
		if s == nil || s.At.Before(healed) || againRunning(in, s) {
			continue
		}
		for _, name := range s.Clones {
			if !known[clone{node, name}] {
				c.add(RescueLeftovers, node, "clone slot", 1, func() example {
					return example{key: name, summary: fmt.Sprintf("a rescue left clone slot %s behind on %s", name, node), from: s.At, to: s.End, details: map[string]any{"what": "clone slot"}}
				})
			}
		}
	}
}

// againRunning says whether a rescue may be at work, for the second time, when a
// sample is read: the settle phase calls each again.
func againRunning(in *input, s *rundir.Sample) bool {
	p, ok := in.phase(rundir.PhaseSettle)
	return ok && !s.End.Before(p.Start) && (p.End.IsZero() || s.At.Before(p.End))
}
