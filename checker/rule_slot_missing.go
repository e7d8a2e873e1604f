package checker

import (
	"github.com/spockchaos/spockchaos/checker/rundir"
)

// slotMissing judges that each node has its recovery slot, with a restart_lsn, in every
// sample after set-up.
func slotMissing(in *input, c *collector) {
	from, restored := in.phase(rundir.PhaseRestore)
	for node, samples := range in.samples {
		for i := range samples {
			s := &samples[i]
			if !good(s) || hasSlot(s) {
				continue
			}
			if restored && (from.End.IsZero() || s.At.Before(from.End)) {
				continue // the round's copy of the cluster was still being put up
			}
			c.add(SlotMissing, node, "slot", 1, func() example {
				if s.Slot == nil {
					return slotExample(s, nil, "%s has no recovery slot", node)
				}
				return slotExample(s, map[string]any{"wal_status": s.Slot.WALStatus}, "the recovery slot on %s has no restart_lsn", node)
			})
		}
	}
}
