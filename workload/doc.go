// Package workload writes to a cluster and records what became of every
// operation. It knows nothing of faults. Sub-package history is its record.
//
// Run drives the sessions that Describe lays out. A session is serial: it draws a
// transaction from its seed (ledger.go, register.go, counter.go, bank.go, conflicts.go, heavy.go),
// records it, sends it over a connection of its own (wire.go), and decides by what
// was in flight and what the server said what became of it (outcome.go). After a
// broken connection it makes sure that its old backend is gone before it goes on
// (fence.go), and looks up what became of an unknown transaction, for its own sake:
// in the history that transaction stays unknown.
//
// It imports only workload/history; chaos and cmd import it.
package workload
