// Package local is a cluster of PostgreSQL processes on this machine: one data
// directory, port, password and log per node, one link per directed pair of nodes and
// from the client to each node, a watchdog that ends the servers when this program dies.
//
// Everything lies in one fresh directory below the temporary directory, owned by the
// account that runs the servers (never root). It imports topology, topology/link and
// topology/engine; chaos and cmd import it.
package local
