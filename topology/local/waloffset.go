package local

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
)

// walSegments is the range, in segments of 16 MB, out of which the beginnings of the nodes' WAL are drawn: 64 GB.
const walSegments = 4096

// spreadWAL moves the beginning of each node's WAL to a place of its own, drawn from the seed. Nodes
// that are copies of one data directory would otherwise write WAL at nearly the same positions, and a
// procedure that compares positions of different nodes, which mean nothing to each other,
// would look right. The servers must be down after a clean stop.
func (c *Cluster) spreadWAL(ctx context.Context) error {
	// The first 16 segments are what initdb and the making of the database have used, and then some.
	starts := rand.New(rand.NewPCG(c.opts.Seed, 0x77616c)).Perm(walSegments)[:len(c.nodes)]
	for i, n := range c.nodes {
		segment := walFileName(starts[i] + 16)
		out, err := c.command(ctx, n.dir, "pg_resetwal", "-f", "-l", segment, "-D", filepath.Clean(n.data)).CombinedOutput()
		if err != nil {
			return fmt.Errorf("moving the WAL of %s to %s: %w: %s", n.name, segment, err, lastLines(out, 3))
		}
	}
	return nil
}

// walFileName is the name of segment number n on timeline 1, for segments of 16 MB ("Write-Ahead
// Logging (WAL)", WAL Internals, in PostgreSQL's manual).
func walFileName(n int) string { return fmt.Sprintf("%08X%08X%08X", 1, n/256, n%256) }
