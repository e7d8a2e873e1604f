package chaos

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/spockchaos/spockchaos/checker"
	"github.com/spockchaos/spockchaos/checker/rundir"
)

// reportStatus calls the status function twice a second until ctx is done.
func (h *harness) reportStatus(ctx context.Context) {
	if h.deps.Status == nil {
		return
	}
	tick := time.NewTicker(statusPeriod)
	defer tick.Stop()
	var rate rateMeter
	for {
		h.deps.Status(h.status(&rate))
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

const statusPeriod = 500 * time.Millisecond

// rateMeter turns a growing count into a rate.
type rateMeter struct {
	at    time.Time
	count int64
}

// next is the rate per second since the last call; a count that fell (a new round) starts over.
func (m *rateMeter) next(at time.Time, count int64) float64 {
	elapsed := at.Sub(m.at).Seconds()
	grown := count - m.count
	first := m.at.IsZero()
	m.at, m.count = at, count
	if first || elapsed <= 0 || grown < 0 {
		return 0
	}
	return float64(grown) / elapsed
}

// status is the state of the run now.
func (h *harness) status(rate *rateMeter) Status {
	now := h.deps.Clock()
	s := Status{Elapsed: now.Sub(h.started), Total: h.cfg.Duration}
	r := h.current.Load()
	if r == nil {
		return s
	}
	s.Round, s.Kind, s.Phase = r.plan.Number, r.plan.Kind, r.phaseName()
	s.Faults, s.Operations, s.Nodes = r.live()
	s.WritesPerSecond = rate.next(now, s.Operations.OK)
	return s
}

// lagOf is, for each node, how far the slowest peer's progress for it is behind its WAL.
func lagOf(latest map[string]rundir.Sample) map[string]int64 {
	lag := map[string]int64{}
	for _, name := range slices.Sorted(maps.Keys(latest)) {
		for _, o := range latest[name].Origins {
			provider, ok := latest[o.Node]
			if !ok || provider.Error != "" || provider.FlushLSN < o.Remote {
				continue
			}
			lag[o.Node] = max(lag[o.Node], int64(provider.FlushLSN-o.Remote))
		}
	}
	return lag
}

// live is the round's part of the status.
func (r *round) live() (faults []string, ops checker.Operations, nodes []NodeStatus) {
	if exec := r.exec.Load(); exec != nil {
		faults = exec.Active()
	}
	counts := r.stats.Snapshot()
	ops = checker.Operations{OK: counts.OK, Fail: counts.Fail, Unknown: counts.Unknown}
	var latest map[string]rundir.Sample
	if w := r.watcher.Load(); w != nil { // nil while the cluster is restored
		latest = w.Latest()
	}
	lag := lagOf(latest)
	for _, n := range r.cluster.Nodes() {
		s, seen := latest[n.Name()]
		st := NodeStatus{Name: n.Name(), Up: seen && s.Error == "", LagBytes: lag[n.Name()]}
		if s.Slot != nil {
			st.Position, st.Retained = s.Slot.Confirmed, s.Slot.Retained
		}
		nodes = append(nodes, st)
	}
	return faults, ops, nodes
}
