package link

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// setting is one gate and the end of its life: changed is closed when another takes its place.
type setting struct {
	gate    Gate
	changed chan struct{}
}

// valve is the state of one direction of a link, shared by all its connections.
// Connections read the setting through an atomic pointer, so an open gate costs one load.
type valve struct {
	base    time.Duration // of the line itself, beside the gate's latency
	current atomic.Pointer[setting]

	bytes     atomic.Int64 // passed on
	held      atomic.Int64 // taken from the sender, not yet passed on
	delayed   atomic.Int64 // chunks that were given a delay
	throttled atomic.Int64 // nanoseconds spent waiting for the rate

	mu     sync.Mutex // guards what follows, and writing current
	rng    *rand.Rand
	budget int64     // bytes left until the cut; counts only while the gate has a CutAfter
	free   time.Time // when the rate allows the next byte
}

func newValve(seed1, seed2 uint64, base time.Duration) *valve {
	v := &valve{base: base, rng: rand.New(rand.NewPCG(seed1, seed2))}
	v.current.Store(&setting{changed: make(chan struct{})})
	return v
}

// update puts f(gate) in the gate's place. f sees, and hands on, how many bytes are left to a cut.
func (v *valve) update(f func(Gate) Gate) {
	v.mu.Lock()
	defer v.mu.Unlock()
	old := v.current.Load()
	gate := f(v.getLocked()).sane()
	v.budget = gate.CutAfter
	if gate.Rate != old.gate.Rate {
		v.free = time.Time{}
	}
	v.current.Store(&setting{gate: gate, changed: make(chan struct{})})
	close(old.changed)
}

func (v *valve) get() Gate {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.getLocked()
}

func (v *valve) getLocked() Gate {
	gate := v.current.Load().gate
	if gate.CutAfter > 0 {
		gate.CutAfter = v.budget
	}
	return gate
}

// delay draws the delay of one chunk.
func (v *valve) delay(g Gate) time.Duration {
	if g.Latency == 0 && g.Jitter == 0 {
		return 0
	}
	d := g.Latency
	if g.Jitter > 0 {
		v.mu.Lock()
		d += time.Duration(v.rng.Int64N(2*int64(g.Jitter)+1)) - g.Jitter
		v.mu.Unlock()
	}
	v.delayed.Add(1)
	return max(d, 0)
}

// reserve takes n bytes of the rate and says when they may go.
func (v *valve) reserve(n int, rate int64, now time.Time) time.Time {
	v.mu.Lock()
	defer v.mu.Unlock()
	start := now
	if v.free.After(start) {
		start = v.free
	}
	v.free = start.Add(time.Duration(float64(n) / float64(rate) * float64(time.Second)))
	if wait := v.free.Sub(now); wait > 0 {
		v.throttled.Add(int64(wait))
	}
	return v.free
}

// spend takes up to n bytes of what is left before the cut. Of those allowed bytes may
// pass; cut says that the connection is to be closed after them.
func (v *valve) spend(s *setting, n int) (allowed int, cut bool) {
	if s.gate.CutAfter == 0 {
		return n, false
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.current.Load() != s { // changed meanwhile: the caller looks again
		return 0, false
	}
	if int64(n) < v.budget {
		v.budget -= int64(n)
		return n, false
	}
	allowed = int(v.budget)
	gate := s.gate
	gate.CutAfter = 0
	v.budget = 0
	v.current.Store(&setting{gate: gate, changed: make(chan struct{})})
	close(s.changed)
	return allowed, true
}
