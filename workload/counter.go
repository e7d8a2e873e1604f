package workload

import (
	"math/rand/v2"
	"slices"

	"github.com/spockchaos/spockchaos/workload/history"
)

// counter adds 1 to 3 to counters of its node's pool, in the order of their keys, so
// that two sessions never wait for each other in a circle.
type counter struct {
	noState
	pool history.Pool
	keys []int64
}

func (c *counter) next(r *rand.Rand, p *plan) {
	c.keys = c.keys[:0]
	for range drawChanges(r) {
		c.keys = append(c.keys, c.pool.FirstCounter+r.Int64N(int64(c.pool.Counters)))
	}
	slices.Sort(c.keys)
	for _, key := range c.keys {
		add := 1 + r.Int64N(3)
		p.begin(stCounterAdd, 1).int8(key).int8(add)
		p.effect(history.Effect{Kind: history.CounterAdd, Key: key, Value: add})
	}
	p.maybeBreak(r)
}
