package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/spockchaos/spockchaos/chaos/fault"
	"github.com/spockchaos/spockchaos/chaos/schedule"
	"github.com/spockchaos/spockchaos/chaos/watch"
	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/workload"
)

// round is one round while it runs.
type round struct {
	*harness
	dir  string
	plan schedule.Round
	log  *zap.Logger

	mu     sync.Mutex // guards state
	state  rundir.Round
	events *rundir.Lines
	faults *rundir.Lines
	saves  *rundir.Lines // rescues.jsonl

	// giveUp ends the round because of an error: what is to be recorded cannot be. The first one counts.
	giveUp context.CancelCauseFunc

	exec    atomic.Pointer[fault.Executor]
	plans   *background // the executor's run
	stats   *workload.Stats
	watcher atomic.Pointer[watch.Watcher]
	rescues []rundir.Rescue    // not saved yet
	marks   map[string]logMark // by node
	// incomplete is whether a rescue failed or left something undone; known from the settle phase on.
	incomplete bool
}

// runRound runs one round from restore to check. Its error is a failure of the
// harness; violations are the checker's to find.
func (h *harness) runRound(ctx context.Context, number int, plan schedule.Round) (err error) {
	dir := rundir.RoundDir(h.cfg.Dir, number)
	if err := os.MkdirAll(filepath.Join(dir, rundir.HistoryDir), 0o755); err != nil {
		return fmt.Errorf("make the directory of round %d: %w", number, err)
	}
	r := &round{harness: h, dir: dir, plan: plan, stats: workload.NewStats(), log: h.deps.Log.With(zap.Int("round", number))}
	r.state = rundir.Round{
		Number: number, Kind: plan.Kind, Seed: plan.Seed, Failed: plan.Failed, Target: plan.Target,
		QuiesceLimit: h.limits.quiesce, StallLimit: h.limits.stall,
	}
	for _, n := range h.cluster.Nodes() {
		if plan.Kind == rundir.KindCrash || n.Name() != plan.Failed {
			r.state.Survivors = append(r.state.Survivors, n.Name())
		}
	}
	if err := r.open(); err != nil {
		return err
	}
	defer func() {
		err = first(r.log, err, r.close(err))
	}()
	h.current.Store(r)
	defer h.current.Store(nil)
	roundCtx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	r.giveUp = giveUp
	err = r.run(roundCtx)
	if cause := context.Cause(roundCtx); ctx.Err() == nil && cause != nil {
		return first(r.log, cause, err)
	}
	return err
}

// open makes the round's files.
func (r *round) open() (err error) {
	if err := r.plan.Write(filepath.Join(r.dir, rundir.ScheduleFile)); err != nil {
		return err
	}
	for file, to := range map[string]**rundir.Lines{
		rundir.EventsFile: &r.events, rundir.FaultsFile: &r.faults, rundir.RescuesFile: &r.saves,
	} {
		if *to, err = rundir.OpenLines(filepath.Join(r.dir, file)); err != nil {
			return err
		}
	}
	return r.write()
}

// close finishes the round's files; cause is why the round ended early, nil if it did not.
func (r *round) close(cause error) error {
	r.mu.Lock()
	if cause != nil && !errors.Is(cause, errInterrupted) {
		r.state.Error = cause.Error()
	}
	r.mu.Unlock()
	errs := []error{r.write(), r.saveRescues()} // a round that ended early has not saved its rescues yet
	for _, l := range []*rundir.Lines{r.events, r.faults, r.saves} {
		if l != nil {
			errs = append(errs, l.Close())
		}
	}
	return errors.Join(errs...)
}

// write rewrites round.json.
func (r *round) write() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return rundir.WriteJSON(filepath.Join(r.dir, rundir.RoundFile), r.state)
}

// phase ends the phase that is on and begins the next.
func (r *round) phase(name string) {
	now := r.deps.Clock()
	r.mu.Lock()
	if n := len(r.state.Phases); n > 0 && r.state.Phases[n-1].End.IsZero() {
		r.state.Phases[n-1].End = now
	}
	if name != "" {
		r.state.Phases = append(r.state.Phases, rundir.Phase{Name: name, Start: now})
	}
	r.mu.Unlock()
	if name != "" {
		r.log.Debug("phase", zap.String("phase", name))
	}
	if err := r.write(); err != nil {
		r.giveUp(err)
	}
}

// phaseName is the phase that is on, "" before the first.
func (r *round) phaseName() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.state.Phases) == 0 {
		return ""
	}
	return r.state.Phases[len(r.state.Phases)-1].Name
}

// background is a set of goroutines with one owner and one end.
type background struct {
	cancel context.CancelFunc
	failed func(error) // is told of each goroutine's error when it ends; nil for nobody
	wg     sync.WaitGroup
	mu     sync.Mutex
	errs   []error
}

func newBackground(ctx context.Context) (context.Context, *background) {
	ctx, cancel := context.WithCancel(ctx)
	return ctx, &background{cancel: cancel}
}

func (b *background) goRun(f func() error) {
	b.wg.Go(func() {
		if err := f(); err != nil {
			b.mu.Lock()
			b.errs = append(b.errs, err)
			b.mu.Unlock()
			if b.failed != nil {
				b.failed(err)
			}
		}
	})
}

// stop ends the goroutines and returns what went wrong in them.
func (b *background) stop() error {
	b.cancel()
	b.wg.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	return errors.Join(b.errs...)
}

func (r *round) run(ctx context.Context) error {
	r.phase(rundir.PhaseRestore)
	if err := r.restore(ctx); err != nil {
		return r.why(ctx, fmt.Errorf("restore the wired cluster: %w", err))
	}

	// What watches goes on past an interruption, until the round is wound up: it has a life of its own.
	live := context.WithoutCancel(ctx)
	watchCtx, watching := newBackground(live)
	workCtx, working := newBackground(live)
	// A round that is no longer recorded proves nothing: it ends at once, not at its next phase.
	watching.failed, working.failed = r.giveUp, r.giveUp
	stopAll := func() error { return errors.Join(working.stop(), watching.stop()) }

	if err := r.startWatching(watchCtx, watching); err != nil {
		return errors.Join(err, stopAll())
	}
	err := r.drive(ctx, workCtx, working)
	if err != nil {
		// Leave nothing broken behind, whatever went wrong.
		err = errors.Join(err, r.heal(live))
		r.mu.Lock()
		r.state.Interrupted = errors.Is(context.Cause(ctx), context.Canceled)
		r.mu.Unlock()
	}
	err = errors.Join(err, stopAll())
	if err != nil {
		r.phase("")
		return r.why(ctx, err)
	}
	r.mu.Lock()
	r.state.Complete = true
	r.mu.Unlock()
	r.phase(rundir.PhaseCheck)
	if r.deps.RoundDone != nil {
		r.deps.RoundDone(ctx, r.plan.Number)
	}
	r.phase("")
	return nil
}

// why turns whatever an interruption broke into errInterrupted. A round that was given up says why by its
// context's cause.
func (r *round) why(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), context.Canceled) {
		return errInterrupted
	}
	return err
}

// first is the first of errs that is one. The others are most often its consequences, and are logged.
func first(log *zap.Logger, errs ...error) (err error) {
	for _, e := range errs {
		switch {
		case e == nil:
		case err == nil:
			err = e
		default:
			log.Warn("and then", zap.Error(e))
		}
	}
	return err
}

// drive runs the phases from baseline to snapshot.
func (r *round) drive(ctx, workCtx context.Context, working *background) error {
	r.phase(rundir.PhaseBaseline)
	r.startWorkload(workCtx, working)
	if err := r.baseline(ctx); err != nil {
		return err
	}

	r.phase(rundir.PhaseChaos)
	if err := r.chaos(ctx); err != nil {
		return err
	}
	if r.plan.Kind == rundir.KindLoss {
		r.phase(rundir.PhaseRescue)
		if err := r.rescue(ctx); err != nil {
			return err
		}
	}

	r.phase(rundir.PhaseHeal)
	if err := r.heal(ctx); err != nil {
		return err
	}

	r.phase(rundir.PhaseQuiesce)
	if err := working.stop(); err != nil {
		return fmt.Errorf("workload: %w", err)
	}
	if err := r.quiesce(ctx); err != nil {
		return err
	}

	r.phase(rundir.PhaseSettle)
	if err := r.settle(ctx); err != nil {
		return err
	}

	r.phase(rundir.PhaseSnapshot)
	return r.snapshot(ctx)
}

func (r *round) restore(ctx context.Context) error {
	if err := r.cluster.Restore(ctx); err != nil {
		return err
	}
	for _, n := range r.cluster.Nodes() {
		r.event(rundir.NodeEvent{At: r.deps.Clock(), Node: n.Name(), Kind: rundir.EventStart})
	}
	if r.cfg.Tracking == TrackingNative {
		r.awaitOwnSlots(ctx)
	}
	return r.markLogs(ctx)
}

func (r *round) event(e rundir.NodeEvent) {
	if err := r.events.Append(e); err != nil {
		r.giveUp(err)
	}
}
