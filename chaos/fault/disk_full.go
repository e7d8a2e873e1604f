package fault

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/topology"
)

// sqlDiskFull is SQLSTATE disk_full (PostgreSQL manual, appendix A).
const sqlDiskFull = "53100"

// DiskFull is the name of the fault that only nodes with a volume of fixed size can have.
const DiskFull = "disk_full"

// diskFull fills a node's volume to the last byte. Statements that need room fail, and a server that cannot write
// its WAL stops (PANIC); it is started again when there is room.
type diskFull struct{ outage }

func newDiskFull() Fault {
	return diskFull{outage{meta{
		name:       DiskFull,
		describe:   "a node's volume of fixed size is filled to the last byte; a server that stopped for it is started when there is room again",
		class:      OnNode,
		span:       Span{1500 * time.Millisecond, 5 * time.Second},
		containers: true,
	}}}
}

func (diskFull) Inject(ctx context.Context, env Env, planned rundir.PlannedFault) (Active, error) {
	n, means, err := runningWith[topology.DiskFiller](env, planned)
	if err != nil {
		return nil, err
	}
	d := &filled{env: env, node: n, means: means}
	if err := means.FillDisk(ctx); err != nil {
		return d, fmt.Errorf("fill the disk of %s: %w", planned.Target, err)
	}
	return d, nil
}

type filled struct {
	env   Env
	node  topology.Node
	means topology.DiskFiller
}

// Prove looks at the volume, and has the server say that it feels it: a statement fails for want of room, or the server is gone.
func (d *filled) Prove(ctx context.Context) (bool, string, error) {
	size, free, err := d.means.DiskSpace(ctx)
	if err != nil {
		return false, "", fmt.Errorf("disk of %s: %w", d.node.Name(), err)
	}
	felt := ""
	_ = until(ctx, func() (bool, error) { // a wait that ran out is told by felt
		felt = d.feel(ctx)
		return felt != "", nil
	})
	proof := fmt.Sprintf("%d bytes of %s's volume of %d MB are free", free, d.node.Name(), size>>20)
	if felt == "" {
		return false, proof + ", its server does not show it", nil
	}
	return true, proof + ", " + felt, nil
}

// feel asks the server for room; "" if it gave it.
func (d *filled) feel(ctx context.Context) string {
	if pids, err := d.node.Processes(); err == nil && len(pids) == 0 {
		return "its server stopped"
	}
	err := d.env.with(ctx, d.node.Name(), func(c *pgx.Conn) error {
		_, err := c.Exec(ctx, "CREATE TEMP TABLE room AS SELECT repeat(md5(i::text), 60) AS v FROM generate_series(1, 500) i")
		return err
	})
	if refused := new(pgconn.PgError); errors.As(err, &refused) && refused.Code == sqlDiskFull {
		return "its server says: " + refused.Message
	}
	return ""
}

func (d *filled) Heal(ctx context.Context) (string, error) {
	if d.env.lost.has(d.node.Name()) {
		return d.node.Name() + " was lost meanwhile", nil
	}
	if err := d.means.FreeDisk(ctx); err != nil {
		return "", fmt.Errorf("free the disk of %s: %w", d.node.Name(), err)
	}
	_, free, err := d.means.DiskSpace(ctx)
	if err != nil {
		return "", fmt.Errorf("disk of %s: %w", d.node.Name(), err)
	}
	proof, err := revive(ctx, d.env, d.node)
	return fmt.Sprintf("%d MB are free; %s", free>>20, proof), err
}
