// Package topology says how nodes exist: the interfaces that a kind of cluster
// (local processes, containers) implements and that chaos drives.
//
// Sub-packages: local (PostgreSQL processes), link (Toxiproxy links with our gate; link/remote: held by another process),
// engine (what replicates). topology may import sql; it is imported by chaos and
// cmd, never by workload or checker.
package topology
