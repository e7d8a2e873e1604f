package checker

import "github.com/spockchaos/spockchaos/checker/rundir"

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
				return slotExample(s, map[string]any{"restart_lsn": nil, "confirmed_flush_lsn": orNull(s.Slot.Confirmed), "no_plugin": s.Slot.NoPlugin,
					"active": s.Slot.Active, "wal_status": s.Slot.WALStatus}, "the recovery slot %s on %s keeps no WAL: %s", s.Slot.Name, node, keepsNothing(s.Slot))
			})
		}
	}
}

// keepsNothing says what a slot without restart_lsn is like.
func keepsNothing(s *rundir.Slot) string {
	text := "its restart_lsn is null"
	if s.Confirmed == 0 {
		text = "its restart_lsn and confirmed_flush_lsn are null"
	}
	if s.NoPlugin {
		text += ", it has no output plugin by which anything could be decoded"
	}
	if s.Active {
		text += ", and a process of the server holds it (active)"
	}
	return text
}

// orNull is a position as the server shows it.
func orNull(p rundir.LSN) any {
	if p == 0 {
		return nil
	}
	return p
}
