package checker

import (
	"time"

	"github.com/spockchaos/spockchaos/checker/rundir"
)

// faultTimes answers which faults were on at a time.
type faultTimes struct {
	all []rundir.Fault
}

// during lists the faults that were on at some time in [from, to], "name target"
// each. A zero from means that the time is not known: none; a zero to means from then on.
func (f *faultTimes) during(from, to time.Time) []string {
	if f == nil || from.IsZero() {
		return nil
	}
	var names []string
	for _, x := range f.all {
		if x.Error != "" && !x.Effect || x.StartedAt.IsZero() {
			continue // never on
		}
		if !to.IsZero() && x.StartedAt.After(to) || !x.EndedAt.IsZero() && x.EndedAt.Before(from) {
			continue
		}
		names = append(names, x.Name+" "+x.Target)
	}
	return names
}
