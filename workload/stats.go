package workload

import (
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/spockchaos/spockchaos/workload/history"
)

// Stats counts what became of operations, for a live display. One Stats serves one
// Run at a time. It is safe for concurrent use.
type Stats struct {
	mu     sync.Mutex
	shards []*shard
}

// Counts are operations by outcome.
type Counts struct{ OK, Fail, Unknown int64 }

// Latency is how long acknowledged operations took, from invocation to answer.
type Latency struct{ P50, P95, P99, Max time.Duration }

// Snapshot is the state of a Stats at one moment.
type Snapshot struct {
	Counts
	ByWorkload map[string]WorkloadSnapshot
	Latency    Latency // of all workloads
}

// WorkloadSnapshot is one workload's part of a Snapshot.
type WorkloadSnapshot struct {
	Counts
	Latency Latency
}

// shard is one session's part: sessions do not wait for each other to count.
type shard struct {
	workload string
	mu       sync.Mutex
	counts   Counts
	took     *hdrhistogram.Histogram // microseconds
}

// NewStats returns a Stats that counts nothing yet.
func NewStats() *Stats { return &Stats{} }

const maxLatency = int64(10 * time.Minute / time.Microsecond)

func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, maxLatency, 2) }

func (s *Stats) shard(workload string) *shard {
	sh := &shard{workload: workload, took: newHistogram()}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shards = append(s.shards, sh)
	return sh
}

func (s *shard) count(o history.Outcome, took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch o {
	case history.OK:
		s.counts.OK++
		// Out of the histogram's range only if a clock stepped: then the nearest end.
		_ = s.took.RecordValue(min(max(int64(took/time.Microsecond), 1), maxLatency))
	case history.Fail:
		s.counts.Fail++
	default:
		s.counts.Unknown++
	}
}

func (c *Counts) add(d Counts) {
	c.OK += d.OK
	c.Fail += d.Fail
	c.Unknown += d.Unknown
}

func latency(h *hdrhistogram.Histogram) Latency {
	if h.TotalCount() == 0 {
		return Latency{}
	}
	at := func(q float64) time.Duration { return time.Duration(h.ValueAtQuantile(q)) * time.Microsecond }
	return Latency{P50: at(50), P95: at(95), P99: at(99), Max: time.Duration(h.Max()) * time.Microsecond}
}

// Snapshot reads the counts. Each session's are consistent in themselves.
func (s *Stats) Snapshot() Snapshot {
	s.mu.Lock()
	shards := s.shards
	s.mu.Unlock()
	snap := Snapshot{ByWorkload: make(map[string]WorkloadSnapshot)}
	all := newHistogram()
	each := make(map[string]*hdrhistogram.Histogram)
	for _, sh := range shards {
		h := each[sh.workload]
		if h == nil {
			h = newHistogram()
			each[sh.workload] = h
		}
		w := snap.ByWorkload[sh.workload]
		sh.mu.Lock()
		counts := sh.counts
		h.Merge(sh.took)
		sh.mu.Unlock()
		w.add(counts)
		snap.add(counts)
		snap.ByWorkload[sh.workload] = w
	}
	for name, h := range each {
		w := snap.ByWorkload[name]
		w.Latency = latency(h)
		snap.ByWorkload[name] = w
		all.Merge(h)
	}
	snap.Latency = latency(all)
	return snap
}
