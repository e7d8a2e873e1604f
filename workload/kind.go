package workload

import (
	"fmt"
	"math/rand/v2"

	"github.com/spockchaos/spockchaos/workload/history"
)

// kind draws the transactions of one session and keeps what it must know to draw the next.
type kind interface {
	// next adds the session's next transaction to p, which holds the marker. It depends
	// on nothing but r and on what settle and reload told.
	next(r *rand.Rand, p *plan)
	// settle says whether the transaction drawn last is in the database. It is called
	// once for each, before the next is drawn.
	settle(committed bool)
	// reload replaces what is known of the session's own registers by what the database holds.
	reload(keys []int64)
}

// noState is embedded by kinds that keep nothing.
type noState struct{}

func (noState) settle(bool)    {}
func (noState) reload([]int64) {}

func newKind(s history.Session, w history.Workload, cfg Config) (kind, error) {
	var pool history.Pool
	for _, p := range w.Pools {
		if p.Node == s.Node {
			pool = p
		}
	}
	switch s.Workload {
	case Ledger:
		return &ledger{plain: cfg.plainLedger}, nil
	case Register:
		return newRegister(s.ID), nil
	case Counter:
		if pool.Counters < 1 {
			return nil, fmt.Errorf("session %d: node %s has no counters", s.ID, s.Node)
		}
		return &counter{pool: pool, shared: w.SharedCounters}, nil
	case Bank:
		if pool.Accounts < 2 {
			return nil, fmt.Errorf("session %d: node %s has fewer than two accounts", s.ID, s.Node)
		}
		return &bank{pool: pool}, nil
	case Conflicts:
		return &conflicts{}, nil
	}
	return nil, fmt.Errorf("session %d: no workload is called %q", s.ID, s.Workload)
}
