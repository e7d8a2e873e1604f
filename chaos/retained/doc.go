// Package retained reads what a recovery slot still holds: the transactions of every node, out of a copy of the slot, so that the slot
// itself stays where it is.
//
// It imports checker/rundir and sql; chaos/rescue and chaos/scenario import it.
package retained
