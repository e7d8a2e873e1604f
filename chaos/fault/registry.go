package fault

import (
	"fmt"
	"slices"
	"strings"
)

// All lists every fault, in the order of docs/faults.md.
func All() []Fault {
	return []Fault{
		newPartition(),
		newPartitionOneWay(),
		newIsolate(),
		newLag(),
		newSlow(),
		newStall(),
		newReset(),
		newCut(),
		newKill(),
		newImmediateStop(),
		newPause(),
		newRestart(),
		newSubscriptionDisabled(),
		newWALRecycle(),
		newTerminateWalsender(),
		newTerminateApply(),
		newLoss(),
	}
}

// ByName finds a fault.
func ByName(name string) (Fault, bool) {
	for _, f := range All() {
		if f.Name() == name {
			return f, true
		}
	}
	return nil, false
}

// Drawable are the names of the faults that a schedule may draw: all but the loss
// of a node, which belongs to the round.
func Drawable() []string {
	var names []string
	for _, f := range All() {
		if f.Class() != ForGood {
			names = append(names, f.Name())
		}
	}
	return names
}

// Select resolves what a user asked for into names: a list of faults to draw, or, with a
// dash before each, of faults to leave out. An empty spec is all that can be drawn.
// Mixing both forms starts from all if the first entry has a dash.
func Select(spec []string) ([]string, error) {
	all := Drawable()
	var chosen []string
	for i, entry := range spec {
		name, without := strings.CutPrefix(strings.TrimSpace(entry), "-")
		if !slices.Contains(all, name) {
			if f, ok := ByName(name); ok && f.Class() == ForGood {
				return nil, fmt.Errorf("fault %q belongs to the round and cannot be chosen", name)
			}
			return nil, fmt.Errorf("no fault %q (there are: %s)", name, strings.Join(all, ", "))
		}
		if without {
			if i == 0 {
				chosen = slices.Clone(all)
			}
			chosen = slices.DeleteFunc(chosen, func(n string) bool { return n == name })
		} else if !slices.Contains(chosen, name) {
			chosen = append(chosen, name)
		}
	}
	if len(spec) == 0 {
		chosen = all
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("no fault is left to draw")
	}
	return chosen, nil
}
