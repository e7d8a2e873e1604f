package chaos

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/topology"
	"github.com/spockchaos/spockchaos/topology/engine"
	"github.com/spockchaos/spockchaos/topology/wait"
)

const (
	// wakeAfter is how long an enabled subscription between two nodes that answer may be without an apply
	// worker before it is restarted. The engine itself starts a worker again within about five seconds.
	wakeAfter = 6 * time.Second
	// wakePeriod lies between two looks.
	wakePeriod = time.Second
)

// Waker finds subscriptions that the engine left without an apply worker after all faults were healed, and restarts
// them, which is what an operator would do. pglogical's manager process can miss the end of a worker and then
// sleeps for three minutes (docs/findings.md); without this every such round would wait as long. Each time is
// told to Woken, so that the report can tell it.
type Waker struct {
	Cluster topology.Cluster
	Engine  engine.Engine
	Nodes   []string // the subscribers that are looked at
	Clock   func() time.Time
	Log     *zap.Logger
	Woken   func(rundir.Woken)

	down map[[2]string]time.Time // by subscriber and provider: since when
}

// Run looks until ctx is done.
func (w *Waker) Run(ctx context.Context) {
	w.down = map[[2]string]time.Time{}
	for wait.For(ctx, wakePeriod) == nil {
		for _, s := range w.Nodes {
			err := onNode(ctx, w.Cluster, s, func(c *pgx.Conn) error { return w.look(ctx, c, s) })
			if err != nil && ctx.Err() == nil {
				w.Log.Warn("cannot look for subscriptions without a worker", zap.String("node", s), zap.Error(err))
			}
		}
	}
}

func (w *Waker) look(ctx context.Context, c *pgx.Conn, node string) error {
	subs, err := w.Engine.Subscriptions(ctx, c)
	if err != nil {
		return err
	}
	now := w.Clock()
	for _, s := range subs {
		pair := [2]string{node, s.Provider}
		pids, err := w.Engine.ApplyWorkers(ctx, c, s.Provider)
		if err != nil {
			return err
		}
		if s.Status == "disabled" || len(pids) > 0 {
			delete(w.down, pair)
			continue
		}
		since, seen := w.down[pair]
		if !seen {
			w.down[pair] = now
			continue
		}
		if now.Sub(since) < wakeAfter {
			continue
		}
		if err := engine.Restart(ctx, w.Engine, c, s.Provider); err != nil {
			return err
		}
		delete(w.down, pair)
		w.Log.Warn("subscription had no apply worker and was restarted", zap.String("subscriber", node),
			zap.String("provider", s.Provider), zap.Duration("down for", now.Sub(since)))
		w.Woken(rundir.Woken{At: now, Node: node, Provider: s.Provider, Down: now.Sub(since)})
	}
	return nil
}
