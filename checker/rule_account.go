package checker

import (
	"fmt"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/workload/history"
)

func newAccounts(pools []history.Pool) counterReplay {
	m := make(counterReplay)
	for _, p := range pools {
		for i := range p.Accounts {
			m[p.FirstAccount+int64(i)] = p.InitialBalance
		}
	}
	return m
}

func (m counterReplay) applyAccount(op *history.Op) {
	for i := range op.Effects {
		if e := &op.Effects[i]; e.Kind == history.Transfer {
			m[e.Key] -= e.Value
			m[e.Key2] += e.Value
		}
	}
}

// judgeAccounts compares each balance with the transfers that are there, and each bank's total.
func (w *walker) judgeAccounts(i int, g *group) {
	type bank struct{ total, accounts int64 }
	banks := make([]bank, len(w.in.run.Workload.Pools))
	wrong := compareBalances(g.account, w.accounts[i], func(row []int64) {
		for k, p := range w.in.run.Workload.Pools {
			if row[0] >= p.FirstAccount && row[0] < p.FirstAccount+int64(p.Accounts) {
				banks[k].total += row[1]
				banks[k].accounts++
			}
		}
	})
	for k := range wrong {
		wrong[k].rule, wrong[k].noun = rundir.TableAccount, "account"
	}
	w.reportBalances(i, g, rundir.TableAccount, w.accounts[i], wrong)
	for k, p := range w.in.run.Workload.Pools {
		want := int64(p.Accounts) * p.InitialBalance
		if banks[k].total == want {
			continue
		}
		w.onEach(g, Torn, "bank_total", 1, func(node string) example {
			return example{key: "bank of " + p.Node,
				summary: fmt.Sprintf("the accounts of %s on %s hold %d in all; it is always %d", p.Node, node, banks[k].total, want),
				details: map[string]any{"total": banks[k].total, "expected": want, "accounts": banks[k].accounts}}
		})
	}
}
