package checker

import (
	"context"
	"fmt"
	"slices"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/workload/history"
)

// counterReplay is what counters, or accounts, must hold. Changes commute, so the order
// among the sessions of a pool, or of all nodes, does not matter. Bounded by the pools.
type counterReplay map[int64]int64

func newCounters(wl history.Workload) counterReplay {
	m := make(counterReplay)
	for i := range wl.SharedCounters.Count {
		m[wl.SharedCounters.First+int64(i)] = 0
	}
	for _, p := range wl.Pools {
		for i := range p.Counters {
			m[p.FirstCounter+int64(i)] = 0
		}
	}
	return m
}

func (m counterReplay) applyCounter(op *history.Op) {
	for i := range op.Effects {
		if e := &op.Effects[i]; e.Kind == history.CounterAdd {
			m[e.Key] += e.Value
		}
	}
}

// judgeCounters compares the counters with the sum of what was added by the
// transactions that are there.
func (w *walker) judgeCounters(ctx context.Context, i int, g *group) error {
	shared := w.in.run.Workload.SharedCounters
	wrong := compareBalances(g.counter, w.counters[i], func([]int64) {})
	over := make(map[int64]int64)
	for k := range wrong {
		x := &wrong[k]
		x.rule, x.noun = rundir.TableCounter, "counter"
		if x.key >= shared.First && x.key < shared.First+int64(shared.Count) {
			x.rule, x.noun = "shared_counter", "shared counter"
		}
		if x.by <= 0 {
			continue
		}
		// Where engines send whole rows, the row of a transaction that is there brings along what those before it have added, also of one that is not there.
		if missing := w.missing[i][x.key]; shared.Count == 0 && x.by <= missing {
			x.text += fmt.Sprintf(", and those that are not there %d, which a later row may have brought along", missing)
			continue
		}
		x.kind = Doubled
		over[x.key] = x.by
	}
	twice, err := w.appliedTwice(ctx, over)
	if err != nil {
		return err
	}
	for k := range wrong {
		if wrong[k].kind == Doubled && wrong[k].by > 0 { // not a row that is there twice
			wrong[k].twice = twice
		}
	}
	w.reportBalances(i, g, rundir.TableCounter, w.counters[i], wrong)
	return nil
}

// wrongBalance is a counter or an account that is not what the transactions that are there make.
type wrongBalance struct {
	key        int64
	have       any // nil: it is not there
	by         int64
	kind       Kind
	text       string
	rule, noun string     // what it is judged by, and called
	twice      *sessionOp // see appliedTwice
}

// compareBalances compares keyed numbers, in a sorted merge; seen is given every row.
func compareBalances(c *cursor, want counterReplay, seen func(row []int64)) []wrongBalance {
	keys := make([]int64, 0, len(want))
	for k := range want {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	var wrong []wrongBalance
	last, started := int64(0), false
	for c.row != nil || len(keys) > 0 {
		switch {
		case c.row == nil || len(keys) > 0 && keys[0] < c.row[0]:
			wrong = append(wrong, wrongBalance{key: keys[0], kind: Torn, text: "is missing"})
			last, started = keys[0], true
			keys = keys[1:]
			continue
		case len(keys) > 0 && keys[0] == c.row[0]:
			if have, should := c.row[1], want[keys[0]]; have != should {
				wrong = append(wrong, wrongBalance{key: keys[0], have: have, by: have - should, kind: Torn,
					text: fmt.Sprintf("is %d, the transactions that are there make %d", have, should)})
			}
			last, started = keys[0], true
			keys = keys[1:]
		case started && c.row[0] == last:
			wrong = append(wrong, wrongBalance{key: last, have: c.row[1], kind: Doubled, text: "is there twice"})
		default:
			wrong = append(wrong, wrongBalance{key: c.row[0], have: c.row[1], kind: Phantom, text: "was never made"})
			last, started = c.row[0], true
		}
		seen(c.row)
		c.next()
	}
	return wrong
}

func (w *walker) reportBalances(i int, g *group, table string, want counterReplay, wrong []wrongBalance) {
	for k := range wrong {
		x := &wrong[k]
		for _, node := range g.nodes {
			var why *rundir.Explanation
			if x.kind == Torn {
				why = w.explainBalance(i, node, table, x.key, want[x.key])
			}
			w.c.add(explained(x.kind, why), node, x.rule, 1, func() example {
				e := example{key: fmt.Sprintf("%s %d", x.noun, x.key), summary: fmt.Sprintf("%s %d on %s %s", x.noun, x.key, node, x.text),
					details: map[string]any{"value": x.have, "expected": want[x.key]}}
				if op := x.twice; op != nil {
					who := opKey(op.session, op.N)
					e.summary += fmt.Sprintf("; all that is too high there is what %s of %s added", who, op.node)
					e.details["applied_twice"], e.from, e.to = who, op.InvokedAt, op.CompletedAt
					e = w.in.thenDown(e, node, op.InvokedAt)
				}
				return e.explain(why)
			})
		}
	}
}
