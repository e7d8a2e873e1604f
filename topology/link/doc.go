// Package link is a directed, breakable connection between two ends: a Toxiproxy
// proxy with one gate toxic of ours per direction.
//
// The gate is installed when the link is made and never removed: adding and
// removing Toxiproxy's own toxics hangs while a peer does not read, and they draw
// from the global random source, which no seed replays. It imports nothing of
// this module and is imported by topology, its sub-packages, chaos/fault and cmd.
package link
