package rescue

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"

	"github.com/spockchaos/spockchaos/topology/engine"
	"github.com/spockchaos/spockchaos/topology/server"
)

// Call is one CALL spock.recovery.
type Call struct {
	Coordinator    string // where it runs
	CoordinatorDSN string // from this machine
	Failed         string
	Source         string
	SourceDSN      string // from the target, and from the coordinator
	Target         string
	TargetDSN      string // from the coordinator
	// Grace is how long the procedure may take to put back what it has suspended when ctx is done; 0 hangs up at once.
	Grace time.Duration
}

// Do makes the call, once; notice is given all that it says.
func (r Call) Do(ctx context.Context, notice func(*pgconn.Notice)) error {
	cfg, err := server.ParseDSN(r.CoordinatorDSN)
	if err != nil {
		return fmt.Errorf("coordinator %s: %w", r.Coordinator, err)
	}
	cfg.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { notice(n) }
	if r.Grace > 0 {
		cfg.BuildContextWatcherHandler = func(c *pgconn.PgConn) ctxwatch.Handler {
			return &pgconn.CancelRequestContextWatcherHandler{Conn: c, DeadlineDelay: r.Grace}
		}
	}
	c, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return fmt.Errorf("connect to coordinator %s: %w", r.Coordinator, err)
	}
	defer engine.HangUp(c)
	_, err = c.Exec(ctx, `CALL spock.recovery(failed_node_name := $1, source_node_name := $2, source_dsn := $3,
		target_node_name := $4, target_dsn := $5, verb := true)`,
		pgx.QueryExecModeSimpleProtocol, // a CALL that commits must be on top level
		r.Failed, r.Source, r.SourceDSN, r.Target, r.TargetDSN)
	if err != nil {
		return fmt.Errorf("CALL spock.recovery on %s: %w", r.Coordinator, err)
	}
	return nil
}
