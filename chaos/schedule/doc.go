// Package schedule decides before a round begins what happens in it: its kind, which node is
// lost or crashed, which survivor is made to lag and how, and every fault with its target,
// parameters and times.
//
// Draw is a pure function of seed, round number and configuration. A round is written as
// schedule.json and can be read back and run again. It imports chaos/fault (which faults
// there are and how each is drawn) and checker/rundir; chaos imports it.
package schedule
