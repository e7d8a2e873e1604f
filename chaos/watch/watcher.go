package watch

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/topology"
	"github.com/spockchaos/spockchaos/topology/engine"
)

// DefaultInterval lies between the beginnings of two samples of a node.
const DefaultInterval = 250 * time.Millisecond

// Appender takes records, one per call, from several goroutines; *rundir.Lines is one.
type Appender interface {
	Append(v any) error
}

// Options of a watcher. All but Interval and Log are needed.
type Options struct {
	Nodes   []topology.Node
	Engine  engine.Engine
	Samples Appender // takes rundir.Sample
	Clock   func() time.Time
	// Interval is DefaultInterval if 0.
	Interval time.Duration
	Log      *zap.Logger
}

// Watcher samples every node several times a second.
type Watcher struct {
	o      Options
	mu     sync.Mutex // guards latest
	latest map[string]rundir.Sample
}

// NewWatcher checks the options; Run does the work.
func NewWatcher(o Options) (*Watcher, error) {
	if len(o.Nodes) == 0 || o.Engine == nil || o.Samples == nil || o.Clock == nil {
		return nil, errors.New("watcher: Nodes, Engine, Samples and Clock are needed")
	}
	if o.Interval < 0 {
		return nil, fmt.Errorf("watcher: interval %s is negative", o.Interval)
	}
	if o.Interval == 0 {
		o.Interval = DefaultInterval
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	return &Watcher{o: o, latest: make(map[string]rundir.Sample, len(o.Nodes))}, nil
}

// Run samples until ctx is done and returns nil then. The error of a record that
// could not be saved ends it: a run must not go on with the watcher blind.
func (w *Watcher) Run(ctx context.Context) error {
	return eachNode(ctx, w.o.Nodes, w.watch)
}

// Latest is the newest sample of each node that was sampled at all. The map is the caller's own.
func (w *Watcher) Latest() map[string]rundir.Sample {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.latest)
}

func (w *Watcher) watch(ctx context.Context, node topology.Node) error {
	s := newSampler(node, w.o.Engine, w.o.Clock)
	defer s.close()
	silent := false
	return every(ctx, w.o.Interval, func() error {
		sample := s.sample(ctx)
		if sample.Error != "" && ctx.Err() != nil {
			return nil // it is we who stopped, not the node
		}
		if now := sample.Error != ""; now != silent {
			silent = now
			w.o.Log.Debug("watcher", zap.String("node", node.Name()), zap.Bool("silent", silent), zap.String("error", sample.Error))
		}
		if err := w.o.Samples.Append(sample); err != nil {
			return fmt.Errorf("save a sample of %s: %w", node.Name(), err)
		}
		w.mu.Lock()
		w.latest[node.Name()] = sample
		w.mu.Unlock()
		return nil
	})
}

// eachNode runs f for every node at once until all have ended. The first that
// fails ends the others; every failure is returned.
func eachNode(ctx context.Context, nodes []topology.Node, f func(context.Context, topology.Node) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, len(nodes))
	var wg sync.WaitGroup
	for i, n := range nodes {
		wg.Go(func() {
			if errs[i] = f(ctx, n); errs[i] != nil {
				cancel()
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// every calls f now and then at each tick until ctx is done or f fails. Ticks that
// pass while f works are left out.
func every(ctx context.Context, interval time.Duration, f func() error) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		if ctx.Err() != nil {
			return nil
		}
		if err := f(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
