// Package engine is what replicates: the interface that an extension's adapter
// implements. Sub-packages are the adapters (pglogical).
//
// It may import sql; topology/local, chaos and cmd import it.
package engine
