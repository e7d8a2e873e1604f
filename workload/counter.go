package workload

import (
	"math/rand/v2"
	"slices"

	"github.com/spockchaos/spockchaos/workload/history"
)

// counter adds 1 to 3 to counters of its node's pool and, where there are such, half of the time to those that the
// sessions of all nodes share. It takes them in the order of their keys, so that two sessions, or a session and what applies
// another node's transactions, never wait for each other in a circle.
type counter struct {
	noState
	pool   history.Pool
	shared history.Counters
	keys   []int64
}

func (c *counter) next(r *rand.Rand, p *plan) {
	c.keys = c.keys[:0]
	for range drawChanges(r) {
		first, count := c.pool.FirstCounter, c.pool.Counters
		if c.shared.Count > 0 && r.IntN(2) == 0 {
			first, count = c.shared.First, c.shared.Count
		}
		c.keys = append(c.keys, first+r.Int64N(int64(count)))
	}
	slices.Sort(c.keys)
	for _, key := range c.keys {
		add := 1 + r.Int64N(3)
		p.begin(stCounterAdd, 1).int8(key).int8(add)
		p.effect(history.Effect{Kind: history.CounterAdd, Key: key, Value: add})
	}
	p.maybeBreak(r)
}
