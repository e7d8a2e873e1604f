package workload

import (
	"math/rand/v2"
	"slices"

	"github.com/spockchaos/spockchaos/workload/history"
)

// Keys of table conflict. Hot ones are there from the start and written all the time. The others are
// reached by a window that moves on with a session's transactions, so that sessions of all nodes
// write a key at about the same time, the first of them inserts it, and then it rests: what its last
// writes came to on each node stays to be seen.
const (
	hotKeys     = 16
	firstWindow = 1000 // its first key
	windowKeys  = 64
	windowStep  = 2 // how far a transaction moves it
	maxPuts     = 4
)

// conflicts writes 1 to maxPuts keys that sessions of all nodes write, in the order of the keys, so that
// neither two sessions nor a session and an apply worker wait for each other in a circle. It deletes nothing: docs/checker.md says why.
type conflicts struct {
	noState
	keys []int64
}

func (c *conflicts) next(r *rand.Rand, p *plan) {
	c.keys = c.keys[:0]
	for range 1 + r.IntN(maxPuts) {
		if r.IntN(4) == 0 {
			c.keys = append(c.keys, 1+r.Int64N(hotKeys))
		} else {
			c.keys = append(c.keys, firstWindow+windowStep*p.n+r.Int64N(windowKeys))
		}
	}
	slices.Sort(c.keys)
	for i, key := range slices.Compact(c.keys) {
		p.begin(stConflictPut, 1).int8(key).int4(p.session).int8(p.n).int8(p.value(i))
		p.effect(history.Effect{Kind: history.ConflictPut, Key: key, Value: p.value(i)})
	}
	p.maybeBreak(r)
}
