package checker

import (
	"cmp"
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
func (w *walker) judgeCounters(i int, g *group) {
	shared := w.in.run.Workload.SharedCounters
	name := func(key int64) (rule, noun string) {
		if key >= shared.First && key < shared.First+int64(shared.Count) {
			return "shared_counter", "shared counter"
		}
		return rundir.TableCounter, "counter"
	}
	w.judgeBalances(i, g, g.counter, w.counters[i], rundir.TableCounter, name, func([]int64) {})
}

// excess says what a counter is that is too high by so much. Where engines send whole rows, the row of a transaction that is there brings along what
// those before it have added, also of one that is not there.
func (w *walker) excess(i int, table string, key, by int64) (Kind, string) {
	switch {
	case table != rundir.TableCounter:
		return Torn, ""
	case w.in.run.Workload.SharedCounters.Count == 0 && by <= w.missing[i][key]:
		return Torn, fmt.Sprintf(", and those that are not there %d, which a later row may have brought along", w.missing[i][key])
	}
	return Doubled, ""
}

// judgeBalances compares keyed numbers: too high is doubled for counters (but see excess), anything else is
// torn. name says what a key is judged by and called; seen is given every row.
func (w *walker) judgeBalances(i int, g *group, c *cursor, want counterReplay, table string, name func(key int64) (rule, noun string), seen func(row []int64)) {
	keys := make([]int64, 0, len(want))
	for k := range want {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	report := func(kind Kind, key int64, have any, text string) {
		rule, noun := name(key)
		for _, node := range g.nodes {
			var why *rundir.Explanation
			if kind == Torn {
				why = w.explainBalance(i, node, table, key, want[key])
			}
			w.c.add(explained(kind, why), node, rule, 1, func() example {
				return example{key: fmt.Sprintf("%s %d", noun, key), summary: fmt.Sprintf("%s %d on %s %s", noun, key, node, text),
					details: map[string]any{"value": have, "expected": want[key]}}.explain(why)
			})
		}
	}
	last, started := int64(0), false
	for c.row != nil || len(keys) > 0 {
		switch {
		case c.row == nil || len(keys) > 0 && keys[0] < c.row[0]:
			report(Torn, keys[0], nil, "is missing")
			last, started = keys[0], true
			keys = keys[1:]
			continue
		case len(keys) > 0 && keys[0] == c.row[0]:
			have := c.row[1]
			switch cmp.Compare(have, want[keys[0]]) {
			case 1:
				kind, more := w.excess(i, table, keys[0], have-want[keys[0]])
				report(kind, keys[0], have, fmt.Sprintf("is %d, the transactions that are there make %d%s", have, want[keys[0]], more))
			case -1:
				report(Torn, keys[0], have, fmt.Sprintf("is %d, the transactions that are there make %d", have, want[keys[0]]))
			}
			last, started = keys[0], true
			keys = keys[1:]
		case started && c.row[0] == last:
			report(Doubled, last, c.row[1], "is there twice")
		default:
			report(Phantom, c.row[0], c.row[1], "was never made")
			last, started = c.row[0], true
		}
		seen(c.row)
		c.next()
	}
}
