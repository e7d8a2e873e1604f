package checker

import (
	"fmt"

	"github.com/spockchaos/spockchaos/checker/rundir"
)

// rescueIncomplete judges that each rescue succeeded, within its limit, and gave the
// target all that the source had of the failed node.
func rescueIncomplete(in *input, c *collector) {
	for _, r := range in.rescues {
		report := func(rule, text string) {
			c.add(RescueIncomplete, r.Target, rule, 1, func() example { return tellStop(in, r, rescueExample(r, text)) })
		}
		took := r.EndedAt.Sub(r.StartedAt)
		switch {
		case !r.OK && !in.round.Complete && in.round.Interrupted, r.EndedAt.IsZero() && !in.round.Complete:
			// It was broken off together with the run.
			continue
		case !r.OK:
			report("outcome", fmt.Sprintf("failed: %s", r.Error))
		case r.Limit > 0 && took > r.Limit:
			report("limit", fmt.Sprintf("took %v; the limit is %v", took, r.Limit))
		}
		if r.OK && r.SourceAfter != 0 && r.TargetAfter != 0 && r.TargetAfter < r.SourceAfter {
			report("progress", fmt.Sprintf("left the target at %s of %s, the source has %s", r.TargetAfter, r.Failed, r.SourceAfter))
		}
		if r.MissingAfter > 0 {
			report("rows", broughtBack(r))
		}
	}
}

// tellStop adds whose WAL the position was one in up to which a server's own rescue should apply, if that is not the source's, which it
// reads. Samples of the target show it while that rescue is at work.
func tellStop(in *input, r rundir.Rescue, e example) example {
	for i := range in.samples[r.Target] {
		s := &in.samples[r.Target][i]
		if s.At.Before(r.StartedAt) || !r.EndedAt.IsZero() && s.At.After(r.EndedAt) {
			continue
		}
		for _, x := range s.OwnRescues {
			if x.Provider != r.Source || x.Stop == 0 {
				continue
			}
			e.details["rescue_subscription"], e.details["stop_lsn"] = x.Name, x.Stop
			source := lastGood(before(in.samples[r.Source], s.End))
			if source == nil {
				return e
			}
			told := e.tell(in, r.Source, source, x.Stop)
			if told.summary != e.summary {
				told.summary = fmt.Sprintf("%s; the stop position of %s, which reads the WAL of %s, was %s%s", e.summary, x.Name, r.Source, x.Stop, told.summary[len(e.summary):])
			}
			return told
		}
	}
	return e
}

// broughtBack says of a rescue after which something is missing what came of what was missing before.
func broughtBack(r rundir.Rescue) string {
	back := "none"
	if n := r.MissingBefore - r.MissingAfter; n > 0 {
		back = fmt.Sprint(n)
	}
	return fmt.Sprintf("brought back %s of the %d writes of %s that %s has and %s lacked: %d are still missing", back, max(r.MissingBefore, r.MissingAfter), r.Failed, r.Source, r.Target, r.MissingAfter)
}

// rescueExample is an example about one rescue.
func rescueExample(r rundir.Rescue, text string) example {
	return example{key: "rescue of " + r.Target + " from " + r.Source, from: r.StartedAt, to: r.EndedAt,
		summary: fmt.Sprintf("the rescue of %s from %s, after the loss of %s, %s", r.Target, r.Source, r.Failed, text),
		details: map[string]any{"strategy": r.Strategy, "failed": r.Failed, "source": r.Source, "target": r.Target, "coordinator": r.Coordinator,
			"transactions": r.Transactions, "resumed_times": r.ResumedTimes, "missing_before": r.MissingBefore, "missing_after": r.MissingAfter}}
}
