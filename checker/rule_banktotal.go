package checker

import (
	"fmt"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/workload/history"
)

// bankTotals judges the bank in every observation: transfers keep the total, so a
// snapshot in which it is off shows a part of a transaction.
func bankTotals(in *input, c *collector) {
	for _, o := range in.observations {
		for _, b := range o.Banks {
			p, ok := pool(in.run.Workload, b.Node)
			if !ok {
				continue
			}
			want := int64(p.Accounts) * p.InitialBalance
			if b.Total == want && b.Accounts == p.Accounts {
				continue
			}
			c.add(Torn, o.Node, "bank_total", 1, func() example {
				return bankExample(o, b, p, want)
			})
		}
	}
}

func bankExample(o rundir.Observation, b rundir.ObservedBank, p history.Pool, want int64) example {
	return example{key: "bank of " + b.Node, from: o.At, to: o.End,
		summary: fmt.Sprintf("a snapshot on %s shows %d accounts of %s with %d in all; it is always %d with %d",
			o.Node, b.Accounts, b.Node, b.Total, p.Accounts, want),
		details: map[string]any{"total": b.Total, "expected": want, "accounts": b.Accounts}}
}

// pool is the pool of a node's sessions.
func pool(w history.Workload, node string) (history.Pool, bool) {
	for _, p := range w.Pools {
		if p.Node == node {
			return p, true
		}
	}
	return history.Pool{}, false
}
