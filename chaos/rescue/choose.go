package rescue

import "github.com/spockchaos/spockchaos/checker/rundir"

// Standing is how much of the failed node's writes a survivor has.
type Standing struct {
	Node     string     `json:"node"`
	Progress rundir.LSN `json:"progress"`      // durable, in the failed node's WAL
	Position rundir.LSN `json:"slot_position"` // of its recovery slot, in its own WAL
	// SlotStatus is pg_replication_slots.wal_status of its recovery slot; "" if there is none.
	SlotStatus string `json:"slot_status"`
	// Unfinished: a rescue of this survivor was interrupted; it is called again, whatever is missing.
	Unfinished bool `json:"unfinished_rescue"`
}

// Choose picks the survivor that has most of the failed node as the source, and every survivor that has less, or whose
// rescue was interrupted, as a target. Of those that have as much, one whose recovery slot can be read is preferred. Both are places in all; -1 is no source.
func Choose(all []Standing) (source int, targets []int) {
	source = -1
	for i, s := range all {
		if source < 0 || s.Progress > all[source].Progress || s.Progress == all[source].Progress && s.rank() < all[source].rank() {
			source = i
		}
	}
	for i, s := range all {
		if i != source && (s.Progress < all[source].Progress || s.Unfinished) {
			targets = append(targets, i)
		}
	}
	return source, targets
}

// rank is how good a source a survivor is, compared with one that has as much; the lowest is best.
func (s Standing) rank() (r int) {
	if s.Unfinished {
		r++ // as a target it is finished
	}
	switch s.SlotStatus {
	case "", "lost":
		r += 4
	case "unreserved":
		r += 2
	}
	return r
}
