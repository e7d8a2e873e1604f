package workload

import "math/rand/v2"

// ledger inserts its marker, mostly nothing else: one statement, committed by itself.
// One in eight transactions also inserts rows into the table without a key.
type ledger struct {
	noState
	plain bool
}

func (l *ledger) next(r *rand.Rand, p *plan) {
	if l.plain || r.IntN(8) > 0 {
		return
	}
	p.events(drawChanges(r))
	p.maybeBreak(r)
}
