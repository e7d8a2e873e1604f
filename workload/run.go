package workload

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/spockchaos/spockchaos/workload/history"
)

// RunOptions is what Run needs.
type RunOptions struct {
	Workload   history.Workload         // as Describe made it; Setup ran with it on every node
	DSN        func(node string) string // how a session reaches its node: through the client's link
	HistoryDir string                   // made if it does not exist; must hold no histories of these sessions
	Config     Config
	Log        *zap.Logger      // nil for none
	Clock      func() time.Time // nil for time.Now
	Stats      *Stats           // nil for none
}

// Streams of a session's random numbers.
const (
	streamWrites = 0x77726974
	streamJitter = 0x6a697474
)

// Run runs every session until ctx is done, and then returns nil. Sessions survive
// every failure of a node or link: they try again for as long as ctx lasts. An error
// means that histories could not be written; then nothing more is sent.
func Run(ctx context.Context, o RunOptions) (err error) {
	if err := o.Config.Validate(); err != nil {
		return fmt.Errorf("workload: %w", err)
	}
	cfg := o.Config.withDefaults()
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Stats == nil {
		o.Stats = NewStats()
	}
	var limiter *rate.Limiter
	if cfg.Rate > 0 {
		limiter = rate.NewLimiter(rate.Limit(cfg.Rate), max(1, int(cfg.Rate/100)))
	}
	if err := os.MkdirAll(o.HistoryDir, 0o755); err != nil {
		return fmt.Errorf("workload: %w", err)
	}
	var sessions []*session
	defer func() {
		for _, s := range sessions {
			// A history that cannot be written says so again here.
			if cerr := s.hist.Close(); err == nil {
				err = cerr
			}
		}
	}()
	seen := make(map[string]bool) // nodes that have a session for heavy transactions
	for _, d := range o.Workload.Sessions {
		k, err := newKind(d, o.Workload, cfg)
		if err != nil {
			return fmt.Errorf("workload: %w", err)
		}
		if !seen[d.Node] && cfg.HeavyMax > 0 {
			k = newHeavy(k, cfg.LargeRows, cfg.HeavyMax)
		}
		seen[d.Node] = true
		hist, err := history.Create(filepath.Join(o.HistoryDir, fmt.Sprintf("%d%s", d.ID, history.FileExt)),
			history.Header{Session: d.ID, Node: d.Node, Workload: d.Workload, Seed: o.Workload.Seed})
		if err != nil {
			return fmt.Errorf("workload: %w", err)
		}
		seed := o.Workload.Seed ^ uint64(d.ID)
		sessions = append(sessions, &session{
			Session: d, cfg: cfg, dsn: o.DSN(d.Node), log: o.Log, clock: o.Clock,
			stats: o.Stats.shard(d.Workload), limiter: limiter, hist: hist,
			rand: rand.New(rand.NewPCG(seed, streamWrites)), jitter: rand.New(rand.NewPCG(seed, streamJitter)),
			kind: k, plan: plan{seed: o.Workload.Seed, session: d.ID},
		})
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, s := range sessions {
		g.Go(func() error {
			if err := s.run(ctx); err != nil {
				return fmt.Errorf("session %d on %s: %w", s.ID, s.Node, err)
			}
			return nil
		})
	}
	return g.Wait()
}
