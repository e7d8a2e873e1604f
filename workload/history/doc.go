// Package history is the record of every operation that the workload tried: the
// invocation before it was sent, the outcome when it was answered.
//
// It is a leaf: it imports nothing of this module. workload writes histories;
// checker, reports and cmd read them. The byte format is in docs/history.md.
package history
