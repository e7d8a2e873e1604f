package chaos

import "time"

// limits bound the waits for events in a round; none is a fixed sleep.
type limits struct {
	baseline time.Duration // until a write of every session is on every node
	ownSlot  time.Duration // until servers that track by themselves have made their slots
	lead     time.Duration // until there is something of the node that is about to be lost to rescue
	// lastWords bounds what is read of a node that is about to be lost.
	lastWords time.Duration
	fence     time.Duration // until the survivors have stopped reading from the failed node
	heal      time.Duration // until every fault is healed
	quiesce   time.Duration // until the survivors agree
	// stall is the T of rule "slot stalled": with everybody caught up, the recovery slots
	// must come level within it. Ten manager periods by default.
	stall    time.Duration
	snapshot time.Duration
	rescue   time.Duration // for one target, interruptions and calls again included
	// attempt bounds one CALL: past it the coordinator's session is given up and the call made again.
	attempt time.Duration
	// look bounds what is read of one node, or done there, around a rescue.
	look time.Duration
}

func defaultLimits() limits {
	return limits{
		baseline: time.Minute, ownSlot: 10 * time.Second, lead: 10 * time.Second, lastWords: 3 * time.Second, fence: 20 * time.Second, heal: 90 * time.Second, quiesce: time.Minute,
		stall: 10 * time.Second, snapshot: 2 * time.Minute, rescue: time.Minute, attempt: 40 * time.Second,
		look: 20 * time.Second,
	}
}
