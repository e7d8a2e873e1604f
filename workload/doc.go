// Package workload writes to a cluster and records what became of every
// operation. It knows nothing of faults. Sub-package history is its record.
//
// It imports only workload/history; chaos and cmd import it.
package workload
