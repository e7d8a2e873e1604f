package chaos

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/topology"
	"github.com/spockchaos/spockchaos/topology/engine"
	"github.com/spockchaos/spockchaos/topology/local/clock"
	"github.com/spockchaos/spockchaos/workload/history"
)

const (
	// setupLimit bounds everything before the first round.
	setupLimit = 3 * time.Minute
	// closeLimit bounds the end of a run: stopping every process and link.
	closeLimit = 60 * time.Second
)

// ErrInterrupted is returned by Run when its context was cancelled before the
// first round could begin: there is nothing to report on.
var ErrInterrupted = errors.New("interrupted before the first round")

// errInterrupted ends a round early because the run's context was cancelled.
var errInterrupted = errors.New("interrupted")

// harness is what the rounds of a run share.
type harness struct {
	cfg         Config
	deps        Deps
	cluster     topology.Cluster
	engine      engine.Engine
	strategy    Strategy
	description history.Workload
	limits      limits
	started     time.Time
	record      rundir.Run            // run.json, rewritten as the run goes on
	current     atomic.Pointer[round] // the round that is on, for the status
	firstFault  atomic.Int64          // unix nanoseconds, 0 before
}

// Run makes the run directory cfg.Dir and everything in it but the reports. When
// ctx is cancelled it heals what is broken, stops every process and returns nil
// with run.json marked interrupted.
//
// A *UsageError means that the run could not be begun for a reason that the user
// can mend; nothing is left behind then.
func Run(ctx context.Context, cfg Config, deps Deps) (err error) {
	plan, skew, err := newPlanner(cfg, func() error { return clock.Check(ctx) })
	if err != nil {
		return &UsageError{err}
	}
	cfg.ClockSkew = skew
	strategy, err := ParseStrategy(cfg.Rescue)
	if err == nil {
		err = checkModes(cfg)
	}
	if err != nil {
		return &UsageError{err}
	}
	extra, err := ReadRecoverySQL(cfg.RecoverySQL)
	if err != nil {
		return err
	}
	if err := checkRunDir(cfg.Dir); err != nil {
		return &UsageError{err}
	}
	if r, ok := plan(1); ok && r.Note != "" {
		deps.Log.Warn(r.Note)
	}
	h := &harness{cfg: cfg, deps: deps, strategy: strategy, limits: defaultLimits(), started: deps.Clock()}
	if err := h.setUp(ctx, extra); err != nil {
		// Nothing half-made is left: there was no round.
		err = errors.Join(err, h.close(false))
		if ctx.Err() != nil {
			return ErrInterrupted
		}
		return err
	}
	statusCtx, status := newBackground(context.WithoutCancel(ctx))
	status.goRun(func() error { h.reportStatus(statusCtx); return nil })
	err = h.rounds(ctx, plan)
	h.record.EndedAt = deps.Clock()
	h.record.Interrupted = ctx.Err() != nil
	if err != nil {
		h.record.Error = err.Error()
	}
	return first(deps.Log, err, h.saveRun(), status.stop(), h.close(cfg.Keep && ctx.Err() == nil))
}

// rounds runs rounds until the duration is spent or the planner has no more.
func (h *harness) rounds(ctx context.Context, plan planner) error {
	var longest time.Duration
	for n := 1; ctx.Err() == nil; n++ {
		// A round that could not be half done in what is left is not begun; the first always is.
		left := h.cfg.Duration - h.deps.Clock().Sub(h.started)
		if n > 1 && h.cfg.Replay == "" && left < max(longest, h.cfg.Chaos)/2 {
			return nil
		}
		r, ok := plan(n)
		if !ok {
			return nil
		}
		h.record.Rounds = n
		if err := h.saveRun(); err != nil {
			return err
		}
		began := h.deps.Clock()
		if err := h.runRound(ctx, n, r); err != nil {
			if errors.Is(err, errInterrupted) {
				return nil
			}
			return fmt.Errorf("round %d: %w", n, err)
		}
		longest = max(longest, h.deps.Clock().Sub(began))
	}
	return nil
}

// saveRun rewrites run.json.
func (h *harness) saveRun() error {
	if ns := h.firstFault.Load(); ns != 0 {
		h.record.FirstFaultAt = time.Unix(0, ns)
	}
	return rundir.WriteJSON(filepath.Join(h.cfg.Dir, rundir.RunFile), h.record)
}

// close ends every process and link, or gives a borrowed cluster back. keep leaves the servers up and says how to stop them.
func (h *harness) close(keep bool) error {
	if h.cluster == nil {
		return nil
	}
	if h.cfg.Topology == "compose" { // it stays up anyway
		if of, ok := h.cluster.(lender); ok {
			return h.giveBack(of)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeLimit)
	defer cancel()
	if keep {
		return h.keep(ctx)
	}
	return h.cluster.Close(ctx)
}

// sessionIDs are the sessions of one node, or of all for "".
func (h *harness) sessionIDs(node string) []int32 {
	var ids []int32
	for _, s := range h.description.Sessions {
		if node == "" || s.Node == node {
			ids = append(ids, int32(s.ID))
		}
	}
	return ids
}

// keep leaves the servers up for the user.
func (h *harness) keep(ctx context.Context) error {
	type detacher interface {
		Detach(ctx context.Context) (howToStop string, err error)
	}
	d, ok := h.cluster.(detacher)
	if !ok {
		return errors.Join(errors.New("--keep: this topology cannot be left up"), h.cluster.Close(ctx))
	}
	how, err := d.Detach(ctx)
	if err != nil {
		return fmt.Errorf("leave the cluster up: %w", err)
	}
	h.deps.Log.Info("cluster left up", zap.String("stop it with", how))
	return nil
}
