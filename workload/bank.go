package workload

import (
	"math/rand/v2"
	"slices"

	"github.com/spockchaos/spockchaos/workload/history"
)

// bank moves money between 2 to 6 accounts of its node's pool; the total stays. The
// accounts are changed in the order of their ids, each once, so that two sessions
// never wait for each other in a circle.
type bank struct {
	noState
	pool history.Pool
	ids  []int64
	net  []int64
}

func (b *bank) next(r *rand.Rand, p *plan) {
	legs := min(2+r.IntN(5), b.pool.Accounts)
	b.ids = b.ids[:0]
	for len(b.ids) < legs {
		id := b.pool.FirstAccount + r.Int64N(int64(b.pool.Accounts))
		if !slices.Contains(b.ids, id) {
			b.ids = append(b.ids, id)
		}
	}
	slices.Sort(b.ids)
	b.net = append(b.net[:0], make([]int64, legs)...)
	// One account pays or is paid by each of the others.
	hub := r.IntN(legs)
	for i := range b.ids {
		if i == hub {
			continue
		}
		from, to, amount := hub, i, 1+r.Int64N(100)
		if r.IntN(2) == 0 {
			from, to = i, hub
		}
		b.net[from] -= amount
		b.net[to] += amount
		p.effect(history.Effect{Kind: history.Transfer, Key: b.ids[from], Key2: b.ids[to], Value: amount})
	}
	for i, id := range b.ids {
		p.begin(stAccountAdd, 1).int8(id).int8(b.net[i])
	}
	p.maybeBreak(r)
}
