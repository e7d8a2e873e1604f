package server

import (
	"fmt"
	"math/rand/v2"
)

// walSegments is the range, in segments of 16 MB, out of which the beginnings of the nodes' WAL are drawn: 64 GB.
const walSegments = 4096

// WALStarts are the segments, as pg_resetwal -l takes them, at which the WAL of each of n nodes begins, drawn from the seed.
// Nodes whose data directories were made alike would otherwise write WAL at nearly the same positions, and a
// procedure that compares positions of different nodes, which mean nothing to each other, would look right.
func WALStarts(seed uint64, n int) []string {
	all := make([]string, n)
	for i, start := range rand.New(rand.NewPCG(seed, 0x77616c)).Perm(walSegments)[:n] {
		// The first 16 segments are what initdb and the making of the database have used, and then some.
		all[i] = walFileName(start + 16)
	}
	return all
}

// walFileName is the name of segment number n on timeline 1, for segments of 16 MB ("Write-Ahead
// Logging (WAL)", WAL Internals, in PostgreSQL's manual).
func walFileName(n int) string { return fmt.Sprintf("%08X%08X%08X", 1, n/256, n%256) }
