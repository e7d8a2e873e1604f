package chaos

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/spockchaos/spockchaos/chaos/fault"
	"github.com/spockchaos/spockchaos/chaos/rescue"
	"github.com/spockchaos/spockchaos/chaos/watch"
	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/topology"
	"github.com/spockchaos/spockchaos/topology/engine"
	"github.com/spockchaos/spockchaos/topology/wait"
	"github.com/spockchaos/spockchaos/workload"
)

// startWatching starts the watcher, the observers and, where the servers do not track by themselves, the managers.
func (r *round) startWatching(ctx context.Context, b *background) error {
	samples, err := rundir.OpenLines(filepath.Join(r.dir, rundir.SamplesFile))
	if err != nil {
		return err
	}
	watcher, err := watch.NewWatcher(watch.Options{
		Nodes: r.cluster.Nodes(), Engine: r.engine, Samples: samples, Clock: r.deps.Clock, Log: r.log,
	})
	if err != nil {
		return errors.Join(err, samples.Close())
	}
	observations, err := rundir.OpenLines(filepath.Join(r.dir, rundir.ObservationsFile))
	if err != nil {
		return errors.Join(err, samples.Close())
	}
	observers, err := watch.NewObservers(watch.ObserverOptions{
		Nodes: r.cluster.Nodes(), Workload: r.description, Observations: observations, Clock: r.deps.Clock, Log: r.log,
	})
	if err != nil {
		return errors.Join(err, samples.Close(), observations.Close())
	}
	r.watcher.Store(watcher)
	b.goRun(func() error { return errors.Join(watcher.Run(ctx), samples.Close()) })
	b.goRun(func() error { return errors.Join(observers.Run(ctx), observations.Close()) })
	if r.cfg.Tracking == TrackingNative {
		return nil
	}
	for _, n := range r.cluster.Nodes() {
		m := &Manager{Name: n.Name(), DSN: n.DSN(), Period: r.cfg.ManagerPeriod, Log: r.log}
		b.goRun(func() error { m.Run(ctx); return nil })
	}
	return nil
}

// startWorkload starts every session.
func (r *round) startWorkload(ctx context.Context, b *background) {
	b.goRun(func() error {
		return workload.Run(ctx, workload.RunOptions{
			Workload:   r.description,
			DSN:        func(node string) string { return r.cluster.LinkDSN(topology.Client, node) },
			HistoryDir: filepath.Join(r.dir, rundir.HistoryDir),
			Config:     r.workloadConfig(),
			Log:        r.log,
			Clock:      r.deps.Clock,
			Stats:      r.stats,
		})
	})
}

// baseline waits until a write of every session is on every node.
func (r *round) baseline(ctx context.Context) error {
	all := r.sessionIDs("")
	g, gctx := errgroup.WithContext(ctx)
	for _, n := range r.cluster.Nodes() {
		what := "baseline: a write of every session on " + n.Name()
		g.Go(func() error {
			return onNode(gctx, r.cluster, n.Name(), func(c *pgx.Conn) error {
				return poll(gctx, r.limits.baseline, what, func(ctx context.Context) (bool, error) {
					var seen int
					err := c.QueryRow(ctx, `SELECT count(*) FROM unnest($1::int[]) s
						WHERE EXISTS (SELECT FROM chaos.ledger l WHERE l.session = s)`, all).Scan(&seen)
					return seen == len(all), err
				})
			})
		})
	}
	return g.Wait()
}

// chaos runs the schedule: until the failed node is lost, or in a crash round until
// every fault was healed. Faults that may outlast the loss stay on.
func (r *round) chaos(ctx context.Context) error {
	lost := make(chan struct{})
	env := fault.Env{
		Cluster: r.cluster, Engine: r.engine, Log: r.log, Clock: r.deps.Clock, Events: r.event,
		Connect: func(ctx context.Context, node string) (*pgx.Conn, error) {
			return pgx.Connect(ctx, r.cluster.Node(node).DSN())
		},
		BeforeLoss: func(ctx context.Context) string {
			said := r.awaitLead(ctx)
			if ctx.Err() != nil {
				return said // interrupted: it is not lost
			}
			if err := r.explainLost(ctx); err != nil {
				r.giveUp(err)
			}
			return said
		},
	}
	exec := fault.NewExecutor(env, func(f rundir.Fault) {
		if err := r.faults.Append(f); err != nil {
			r.giveUp(err)
		}
		if f.Effect {
			r.firstFault.CompareAndSwap(0, f.StartedAt.UnixNano())
		}
		if r.plan.Kind == rundir.KindLoss && f.ID == r.plan.LossID {
			if !f.Effect {
				r.giveUp(fmt.Errorf("%s could not be lost: %s", r.plan.Failed, cmp.Or(f.Error, f.Proof)))
				return
			}
			r.lost(f)
			close(lost)
		}
	})
	r.exec.Store(exec)
	planCtx, running := newBackground(ctx)
	r.plans = running
	done := make(chan struct{})
	running.goRun(func() error {
		defer close(done)
		return exec.Run(planCtx, r.plan.Faults, r.deps.Clock())
	})
	if r.plan.Kind == rundir.KindCrash {
		lost = nil
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-lost:
		return nil
	case <-done:
	}
	select {
	case <-lost: // both at once
		return nil
	default:
	}
	if r.plan.Kind == rundir.KindLoss {
		return errors.Join(running.stop(), errors.New("the schedule ended without the loss of "+r.plan.Failed))
	}
	return nil
}

// lost notes when the failed node was lost.
func (r *round) lost(f rundir.Fault) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state.LostAt = f.StartedAt
}

// rescue runs the runbook for the lost node: stop what still reads from it, see who has
// how much of it, and bring every survivor level with the one that has most.
func (r *round) rescue(ctx context.Context) error {
	resc := r.rescuer()
	fenceCtx, cancel := context.WithTimeout(ctx, r.limits.fence)
	defer cancel()
	if err := Fence(fenceCtx, r.cluster, r.engine, r.plan.Failed, r.state.Survivors); err != nil {
		return err
	}
	all, err := resc.standings(fenceCtx, r.state.Survivors)
	if err != nil {
		return err
	}
	source, targets := choose(all)
	for _, target := range targets {
		rec, err := resc.rescue(ctx, source, target)
		r.rescues = append(r.rescues, rec) // also one that was broken off
		if err != nil {
			return fmt.Errorf("rescue %s from %s: %w", target.Node, source.Node, err)
		}
		r.log.Info("rescue", zap.String("source", rec.Source), zap.String("target", rec.Target), zap.Bool("ok", rec.OK),
			zap.Int64("transactions", rec.Transactions), zap.Duration("took", rec.EndedAt.Sub(rec.StartedAt)))
	}
	return r.retire(ctx)
}

// retire removes the lost node from the survivors, unless a rescue has done that. A server's own rescue does not; then the lost node stays as long as somebody lacks
// something of it, as it would with an operator: whoever tracks by what the nodes subscribe to would let the WAL go for which it may still be needed.
func (r *round) retire(ctx context.Context) error {
	_, native := r.strategy.(nativeStrategy)
	if len(r.rescues) > 0 && (!native || !r.rescued()) {
		return nil
	}
	for _, s := range r.state.Survivors {
		switch err := r.drop(ctx, s); {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && len(r.rescues) > 0: // what stays there is found among the leftovers
			r.log.Warn("the lost node stays", zap.Error(err))
		case err != nil:
			return err
		}
	}
	return nil
}

// rescued says whether every rescue succeeded and nobody lacks anything.
func (r *round) rescued() bool {
	return !slices.ContainsFunc(r.rescues, func(x rundir.Rescue) bool { return !x.OK || x.MissingAfter > 0 })
}

// drop removes the lost node from a survivor.
func (r *round) drop(ctx context.Context, survivor string) error {
	ctx, cancel := context.WithTimeout(ctx, r.limits.look)
	defer cancel()
	err := onNode(ctx, r.cluster, survivor, func(c *pgx.Conn) error {
		subs, err := r.engine.Subscriptions(ctx, c)
		if err != nil || !slices.ContainsFunc(subs, func(s engine.Subscription) bool { return s.Provider == r.plan.Failed }) {
			return err // or it is gone
		}
		return r.engine.DropNode(ctx, c, r.plan.Failed)
	})
	if err != nil {
		return fmt.Errorf("remove %s from %s: %w", r.plan.Failed, survivor, err)
	}
	return nil
}

func (r *round) rescuer() *rescuer {
	return &rescuer{
		cluster: r.cluster, engine: r.engine, strategy: r.strategy, name: cmp.Or(r.cfg.Rescue, StrategySQL), tracking: r.cfg.Tracking, log: r.log, clock: r.deps.Clock, limits: r.limits,
		failed: r.plan.Failed, coordinator: r.plan.Coordinator, sessions: r.sessionIDs(r.plan.Failed),
	}
}

// heal ends every fault that is still on. It is also what an interruption does.
func (r *round) heal(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, r.limits.heal)
	defer cancel()
	exec := r.exec.Load()
	if exec == nil {
		return nil
	}
	return errors.Join(r.plans.stop(), exec.HealAll(ctx))
}

// quiesce waits until the survivors agree on every table. That they do not within
// the limit is recorded for the checker, not an error.
func (r *round) quiesce(ctx context.Context) error {
	wakeCtx, waking := newBackground(ctx)
	waker := &Waker{Cluster: r.cluster, Engine: r.engine, Nodes: r.state.Survivors, Clock: r.deps.Clock, Log: r.log, Woken: r.woken}
	waking.goRun(func() error { waker.Run(wakeCtx); return nil })
	equal, note, err := watch.WaitEqual(ctx, r.survivors(), r.limits.quiesce)
	err = errors.Join(err, waking.stop())
	if err != nil {
		return fmt.Errorf("quiesce: %w", err)
	}
	r.mu.Lock()
	r.state.Quiesced, r.state.QuiesceNote = equal, note
	r.mu.Unlock()
	return nil
}

// woken notes a subscription that was restarted.
func (r *round) woken(w rundir.Woken) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state.Woken = append(r.state.Woken, w)
}

func (r *round) survivors() []topology.Node {
	nodes := make([]topology.Node, 0, len(r.state.Survivors))
	for _, s := range r.state.Survivors {
		nodes = append(nodes, r.cluster.Node(s))
	}
	return nodes
}

// settle gives the recovery slots time to come level, and calls each rescue again,
// which must change nothing.
func (r *round) settle(ctx context.Context) error {
	if err := r.repeatRescues(ctx); err != nil {
		return err
	}
	if !r.state.Quiesced {
		return nil // who has not caught up rightly holds the slots
	}
	goal := map[string]rundir.LSN{}
	ctx, cancel := context.WithTimeout(ctx, r.limits.stall+time.Second)
	defer cancel()
	for {
		latest := r.watcher.Load().Latest()
		level := true
		for _, s := range r.state.Survivors {
			sample := latest[s]
			if sample.Error != "" || sample.Slot == nil {
				level = false
				continue
			}
			if goal[s] == 0 {
				goal[s] = sample.FlushLSN
			}
			level = level && sample.Slot.Confirmed >= goal[s]
		}
		if level || wait.For(ctx, pollPause) != nil {
			return nil // what the samples show is the checker's to judge
		}
	}
}

// repeatRescues calls every rescue that succeeded once more and writes the records. A server's own that has left something undone would go on with that: there is
// nothing in it that could be judged.
func (r *round) repeatRescues(ctx context.Context) error {
	resc := r.rescuer()
	_, native := r.strategy.(nativeStrategy)
	r.incomplete = !r.rescued()
	for i := range r.rescues {
		rec := &r.rescues[i]
		if rec.OK && !(native && rec.MissingAfter > 0) {
			again, err := r.again(ctx, resc, rec)
			if err != nil {
				return fmt.Errorf("repeat the rescue of %s: %w", rec.Target, err)
			}
			rec.Again = again
		}
	}
	return r.saveRescues()
}

// saveRescues writes the rescues' records, once.
func (r *round) saveRescues() error {
	for _, rec := range r.rescues {
		if err := r.saves.Append(rec); err != nil {
			return err
		}
	}
	r.rescues = nil
	return nil
}

func (r *round) again(ctx context.Context, resc *rescuer, rec *rundir.Rescue) (*rundir.Again, error) {
	limited, cancel := context.WithTimeout(ctx, r.limits.attempt)
	defer cancel()
	var a rundir.Again
	digest := func() (d string, err error) {
		ctx, cancel := context.WithTimeout(ctx, r.limits.snapshot)
		defer cancel()
		err = onNode(ctx, r.cluster, rec.Target, func(c *pgx.Conn) error {
			d, err = watch.Digest(ctx, c)
			return err
		})
		return d, err
	}
	var err error
	if a.DigestBefore, err = digest(); err != nil {
		return nil, err
	}
	if err := resc.call(limited, rec.Source, rec.Target, func(string) {}); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		a.Error = err.Error()
	} else {
		a.OK = true
	}
	if a.DigestAfter, err = digest(); err != nil {
		return nil, err
	}
	return &a, nil
}

// snapshot reads every survivor's tables into the run directory, what the engine says that it discarded, and looks for what
// the rescues left behind.
func (r *round) snapshot(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, r.limits.snapshot)
	defer cancel()
	lost := ""
	_, native := r.strategy.(nativeStrategy)
	stays := native && r.incomplete // the lost node, on purpose
	if r.plan.Kind == rundir.KindLoss {
		lost = r.plan.Failed
	}
	g, gctx := errgroup.WithContext(ctx)
	left := make([][]rundir.Leftover, len(r.state.Survivors))
	for i, s := range r.state.Survivors {
		g.Go(func() error {
			return onNode(gctx, r.cluster, s, func(c *pgx.Conn) error {
				if err := watch.Snapshot(gctx, c, filepath.Join(r.dir, rundir.FinalDir, s)); err != nil {
					return fmt.Errorf("final snapshot of %s: %w", s, err)
				}
				var err error
				left[i], err = rescue.Leftovers(gctx, c, r.engine, s, lost)
				if stays {
					left[i] = slices.DeleteFunc(left[i], func(l rundir.Leftover) bool { return l.What == rescue.LeftSubscription })
				}
				return err
			})
		})
	}
	if err := errors.Join(g.Wait(), r.explain(ctx)); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range left {
		r.state.Leftovers = append(r.state.Leftovers, l...)
	}
	return nil
}
