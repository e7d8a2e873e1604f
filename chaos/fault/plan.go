package fault

import (
	"fmt"

	"github.com/spockchaos/spockchaos/checker/rundir"
)

// Validate says whether every fault of a plan exists and has a target and
// parameters that fit the cluster; a plan from a file may not.
func Validate(w World, plan []rundir.PlannedFault) error {
	seen := map[int]bool{}
	for _, p := range plan {
		f, ok := ByName(p.Name)
		if !ok {
			return fmt.Errorf("planned fault %d: no fault %q", p.ID, p.Name)
		}
		if _, err := f.Touches(w, p.Target, p.Parameters); err != nil {
			return fmt.Errorf("planned fault %d, %s on %s: %w", p.ID, p.Name, p.Target, err)
		}
		if p.At < 0 || p.For < 0 {
			return fmt.Errorf("planned fault %d, %s on %s: negative time", p.ID, p.Name, p.Target)
		}
		if seen[p.ID] {
			return fmt.Errorf("planned fault %d: the id is there twice", p.ID)
		}
		seen[p.ID] = true
	}
	return nil
}
