package chaos

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"github.com/spockchaos/spockchaos/sql"
	"github.com/spockchaos/spockchaos/topology/engine"
	"github.com/spockchaos/spockchaos/topology/wait"
)

// Who makes and advances the recovery slots, as --tracking has it.
const (
	TrackingSQL    = "sql"    // the procedures in sql/, called by a Manager
	TrackingNative = "native" // the server's own manager worker
)

// checkModes says what does not go together with the server's own tracking or rescue.
func checkModes(cfg Config) error {
	switch native := cfg.Tracking == TrackingNative; {
	case !native && cfg.Tracking != TrackingSQL && cfg.Tracking != "":
		return fmt.Errorf("tracking %q is not known: %s and %s are", cfg.Tracking, TrackingSQL, TrackingNative)
	case !native && cfg.Rescue == StrategyNative:
		return errors.New("--rescue native needs --tracking native: the server's own rescue clones the slot that its own manager made, and no other")
	case native && (cfg.Rescue == StrategySQL || cfg.Rescue == ""):
		return errors.New("--tracking native goes with --rescue native or exec:COMMAND: --rescue sql decodes the slot that --tracking sql makes, and its procedures have names of the server's own")
	case native && cfg.Topology == "compose":
		return errors.New("--tracking native is for --topology local or docker: a cluster of compose's has slot tracking by the procedures in sql/")
	}
	return nil
}

// recoverers are those of engines that may have tracking and rescue of their own.
func recoverers(candidates []engine.Engine) ([]engine.Engine, error) {
	var able []engine.Engine
	names := ""
	for _, e := range candidates {
		names += " " + e.Name()
		if _, ok := e.(engine.Recoverer); ok {
			able = append(able, e)
		}
	}
	if len(able) == 0 {
		return nil, fmt.Errorf("--tracking native: engine%s has no slot tracking of its own", names)
	}
	return able, nil
}

// begin makes sure, before anything of ours is on the server, that it has what the tracking needs.
func (w Wiring) begin(ctx context.Context, c *pgx.Conn, eng engine.Engine) error {
	if w.Tracking != TrackingNative {
		return nil
	}
	if err := w.demandNative(ctx, c, eng); err != nil {
		return err
	}
	// The slot is the manager's first act, and a manager that finds one at its start is another case than one that makes it. Every round begins with a start of
	// the servers, so each has a slot that was just made, and what a restart does to it is seen by the faults.
	return eng.(engine.Recoverer).HoldOwnSlot(ctx, c)
}

// demandNative is a UsageError for a server without tracking and rescue of its own.
func (w Wiring) demandNative(ctx context.Context, c *pgx.Conn, eng engine.Engine) error {
	own, ok := eng.(engine.Recoverer)
	if !ok {
		return &UsageError{fmt.Errorf("--tracking native: engine %s has no slot tracking of its own", eng.Name())}
	}
	lacks, err := own.OwnRecovery(ctx, c)
	if err != nil {
		return err
	}
	if lacks != "" {
		return &UsageError{fmt.Errorf("--tracking native: this build of %s has no slot tracking of its own: it lacks %s", eng.Name(), lacks)}
	}
	return nil
}

// track gives a wired node its slot tracking: ours, or leave for its own.
func (w Wiring) track(ctx context.Context, c *pgx.Conn, eng engine.Engine) error {
	if w.Tracking == TrackingNative {
		return w.trackNative(ctx, c, eng)
	}
	if own, ok := eng.(engine.Recoverer); ok {
		lacks, err := own.OwnRecovery(ctx, c)
		if err != nil {
			return err
		}
		if lacks == "" {
			return &UsageError{fmt.Errorf("this build of %s has recovery slots and a rescue of its own, with the names of those in sql/: use --tracking native and --rescue native", eng.Name())}
		}
	}
	if err := sql.Install(ctx, c, eng.Name(), nil); err != nil {
		return fmt.Errorf("install recovery slot tracking: %w", err)
	}
	if err := w.RecoverySQL.load(ctx, c); err != nil {
		return err
	}
	if _, err := c.Exec(ctx, "SELECT spock.create_recovery_slot()"); err != nil {
		return fmt.Errorf("create the recovery slot: %w", err)
	}
	// A slot that was there already knows nothing of new tables until the next advance, and their rows could not be rescued.
	if _, err := c.Exec(ctx, "SELECT spock.recovery_sync_publications()"); err != nil {
		return fmt.Errorf("publish the tables: %w", err)
	}
	return nil
}

// trackNative puts nothing of ours on the server but the origins by which a node's progress is found after a crash (sql/engine_spock.sql).
func (w Wiring) trackNative(ctx context.Context, c *pgx.Conn, eng engine.Engine) error {
	if err := w.demandNative(ctx, c, eng); err != nil { // now with the extension
		return err
	}
	if err := sql.InstallEngine(ctx, c, eng.Name()); err != nil {
		return err
	}
	if _, err := c.Exec(ctx, "SELECT spock.recovery_engine_prepare()"); err != nil {
		return fmt.Errorf("name the nodes' origins: %w", err)
	}
	if err := w.RecoverySQL.load(ctx, c); err != nil {
		return err
	}
	return eng.(engine.Recoverer).FreeOwnSlot(ctx, c)
}

// awaitOwnSlots waits until every server has made its recovery slot. One that does not is the checker's to judge: the samples show it.
func (r *round) awaitOwnSlots(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, r.limits.ownSlot)
	defer cancel()
	err := eachNode(ctx, r.cluster, func(ctx context.Context, c *pgx.Conn) error {
		for {
			var there bool
			err := c.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = 'spk_recovery_' || current_database())`).Scan(&there)
			if there || err != nil {
				return err
			}
			if err := wait.For(ctx, pollPause); err != nil {
				return fmt.Errorf("no recovery slot within %s", r.limits.ownSlot)
			}
		}
	})
	if err != nil {
		r.log.Warn("the servers' own recovery slots", zap.Error(err))
	}
}
