// Package fault is every way in which a run breaks links, nodes and replication:
// one file per fault, listed by All.
//
// A fault says how it is drawn from the seed (Draw) and what it disturbs (Touches),
// both pure. Inject puts it on and returns an Active, which proves by something
// measured that it took effect and later ends it, with a proof of the end. What cannot
// be shown is recorded as a fault without effect; no proof is ever assumed. The
// Executor runs a plan of faults by the clock.
//
// Faults compose: Links keeps, per link and direction, every effect that is on and sets the
// gate to their sum, so that ending one leaves the others.
//
// It imports topology and checker/rundir; chaos and chaos/schedule import it.
package fault
