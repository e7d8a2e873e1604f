package local

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/spockchaos/spockchaos/topology/server"
)

// spreadWAL moves the beginning of each node's WAL to a place of its own. The servers must be down after a clean stop.
func (c *Cluster) spreadWAL(ctx context.Context) error {
	starts := server.WALStarts(c.opts.Seed, len(c.nodes))
	for i, n := range c.nodes {
		out, err := c.command(ctx, n.dir, "pg_resetwal", "-f", "-l", starts[i], "-D", filepath.Clean(n.data)).CombinedOutput()
		if err != nil {
			return fmt.Errorf("moving the WAL of %s to %s: %w: %s", n.name, starts[i], err, lastLines(out, 3))
		}
	}
	return nil
}
