package checker

import (
	"time"

	"github.com/spockchaos/spockchaos/checker/rundir"
)

// slotStalled judges liveness: after quiesce every peer has everything and is
// reachable, so each survivor's slot must reach, within StallLimit, the WAL that was flushed
// when the first sample after quiesce was read.
func slotStalled(in *input, c *collector) {
	quiet, settle := in.phaseEnd(rundir.PhaseQuiesce), in.phaseEnd(rundir.PhaseSettle)
	if !in.round.Quiesced || quiet.IsZero() || settle.IsZero() || in.round.StallLimit <= 0 || settle.Sub(quiet) < in.round.StallLimit {
		return
	}
	for _, node := range in.round.Survivors {
		stalled(in, c, node, quiet, settle)
	}
}

func stalled(in *input, c *collector, node string, quiet, settle time.Time) {
	var first, last *rundir.Sample
	samples := in.samples[node]
	for i := range samples {
		s := &samples[i]
		if !hasSlot(s) || s.At.Before(quiet) || s.End.After(settle) {
			continue
		}
		if first == nil {
			first = s
		}
		last = s
		if s.Slot.Confirmed >= first.FlushLSN {
			return
		}
	}
	// What was seen must itself cover the limit: a blind watcher proves nothing.
	if first == nil || last.At.Sub(first.End) < in.round.StallLimit*3/4 {
		return
	}
	c.add(SlotStalled, node, "slot", 1, func() example {
		moved := "did not move from"
		if last.Slot.Confirmed > first.Slot.Confirmed {
			moved = "only came to"
		}
		e := slotExample(last, map[string]any{"position_first": first.Slot.Confirmed, "position_last": last.Slot.Confirmed, "flush_lsn": first.FlushLSN,
			"seconds": last.End.Sub(first.At).Seconds()},
			"all nodes were at rest for %v and the recovery slot on %s %s %s; %s was to be reached",
			last.End.Sub(first.At).Round(time.Millisecond), node, moved, last.Slot.Confirmed, first.FlushLSN)
		e.from = first.At
		return e.tell(in, node, last, last.Slot.Confirmed)
	})
}
