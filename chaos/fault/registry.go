package fault

import "slices"

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
		newDisconnect(),
		newDropPackets(),
		newMemoryLimit(),
		newDiskFull(),
		newSubscriptionDisabled(),
		newWALRecycle(),
		newTerminateWalsender(),
		newTerminateApply(),
		newClockSkew(),
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

// Meant are the names of the faults that "all" means beside these workloads: Drawable without those that
// are for another one.
func Meant(workloads []string) []string {
	var names []string
	for _, f := range All() {
		if f.Class() != ForGood && (f.With() == "" || slices.Contains(workloads, f.With())) {
			names = append(names, f.Name())
		}
	}
	return names
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
