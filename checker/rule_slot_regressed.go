package checker

import "github.com/spockchaos/spockchaos/checker/rundir"

// slotPosition is one of the two positions of a slot.
type slotPosition struct {
	name string
	of   func(*rundir.Slot) rundir.LSN
}

func slotPositions() []slotPosition {
	return []slotPosition{
		{"confirmed_flush_lsn", func(s *rundir.Slot) rundir.LSN { return s.Confirmed }},
		{"restart_lsn", func(s *rundir.Slot) rundir.LSN { return s.Restart }},
	}
}

// slotRegressed judges that no recovery slot moves backwards: not while the server
// runs, not over a clean shutdown, and not over a crash below what the last completed
// checkpoint had saved. Falling back to that is counted.
func slotRegressed(in *input, c *collector, slots map[string]*SlotSummary) {
	for node, samples := range in.samples {
		runs := epochs(samples)
		for _, p := range slotPositions() {
			fell := regressions(in, c, node, runs, p)
			if p.name == "confirmed_flush_lsn" {
				slots[node].FellBack += fell
			}
		}
	}
}

// regressions judges one position of one node's slot and counts the legal fallbacks.
func regressions(in *input, c *collector, node string, runs [][]rundir.Sample, p slotPosition) (fell int64) {
	var (
		highest rundir.LSN     // in the epoch, or before a clean stop
		at      *rundir.Sample // where it was seen
		saved   rundir.LSN     // certainly saved by a checkpoint
	)
	report := func(s *rundir.Sample, floor rundir.LSN, over string) {
		c.add(SlotRegressed, node, p.name, 1, func() example {
			d := map[string]any{"position": p.of(s.Slot), "earlier": floor, "over": over}
			if at != nil {
				d["earlier_at"] = at.At
			}
			return slotExample(s, d, "%s of the recovery slot on %s went back to %s from %s, %s", p.name, node, p.of(s.Slot), floor, over).
				tell(in, node, s, p.of(s.Slot))
		})
	}
	for e, run := range runs {
		first := true
		for i := range run {
			s := &run[i]
			if s.Slot == nil || p.of(s.Slot) == 0 {
				continue // rule slot_missing
			}
			v := p.of(s.Slot)
			if first && e > 0 && at != nil {
				prev := runs[e-1]
				if cleanStop(in, node, prev[len(prev)-1].At, s.End) {
					if v < highest {
						report(s, highest, "over a clean restart")
					}
					saved = max(saved, highest) // by the shutdown's checkpoint
				} else {
					if v < saved {
						report(s, saved, "over a crash, though a checkpoint had saved it")
					} else if v < highest {
						fell++
					}
					highest, at = 0, nil
				}
			} else if v < highest && !s.At.Before(at.End) {
				report(s, highest, "while the server ran")
			}
			first = false
			if v >= highest {
				highest, at = v, s
			}
		}
		saved = max(saved, savedIn(run, p))
	}
	return fell
}

// savedIn is the highest position that a checkpoint of this epoch certainly saved.
//
// A checkpoint begins at its redo position, saves the slots after that, and only then shows
// in pg_control. Within a sample the slot is read before the WAL's end, so a slot
// whose sample ends before the redo position was read before the checkpoint began. At
// the redo position itself it may have been read later, on a server at rest.
func savedIn(run []rundir.Sample, p slotPosition) (saved rundir.LSN) {
	var redo rundir.LSN
	for i := range run {
		redo = max(redo, run[i].RedoLSN)
	}
	for i := range run {
		if s := &run[i]; s.Slot != nil && s.InsertLSN < redo {
			saved = max(saved, p.of(s.Slot))
		}
	}
	return saved
}
