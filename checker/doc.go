// Package checker judges a run from the files of its directory alone: history,
// final snapshots, samples and observations. It knows nothing of how a cluster was
// made. Each rule is one file with one function; docs/checker.md says why each is sound.
//
// It imports checker/rundir and workload/history; chaos and cmd import it.
package checker
