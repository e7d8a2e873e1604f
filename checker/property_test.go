package checker

import (
	"maps"
	"os"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/workload/history"
)

// drawWorld draws a round in which everything went as it should: outcomes that are
// right, unknown writes applied or not, the last writes to the lost node gone, and
// observations of prefixes.
func drawWorld(t *rapid.T, tb testing.TB) *world {
	w := newWorld(tb)
	if rapid.Bool().Draw(t, "crash") {
		w.crash()
	}
	if rapid.Bool().Draw(t, "shared counters") {
		w.run.Workload.SharedCounters = history.Counters{First: 201, Count: 2}
	}
	for id := 1; id <= rapid.IntRange(1, 3).Draw(t, "sessions"); id++ {
		s := w.session(id, rapid.SampledFrom(w.run.Nodes).Draw(t, "node"))
		drawOps(t, w, s)
	}
	return w
}

func drawOps(t *rapid.T, w *world, s *testSession) {
	pool := w.run.Workload.Pools[slices.Index(w.run.Nodes, s.node)]
	shared := w.run.Workload.SharedCounters
	size := rapid.IntRange(1, 25).Draw(t, "ops")
	reached := size // what got to the survivors
	if w.round.Kind == rundir.KindLoss && s.node == w.round.Failed {
		reached = rapid.IntRange(0, size).Draw(t, "reached")
	}
	live, bulks, fresh := map[int64]bool{}, map[int64]bool{}, int64(0)
	var there []int64 // numbers of the transactions that were committed
	for n := int64(1); n <= int64(size); n++ {
		outcome := rapid.SampledFrom([]history.Outcome{history.OK, history.OK, history.OK, history.Unknown, history.Fail}).Draw(t, "outcome")
		committed := outcome == history.OK || outcome == history.Unknown && rapid.Bool().Draw(t, "committed")
		nowLive, nowBulks := maps.Clone(live), maps.Clone(bulks)
		var effects []history.Effect
		for range rapid.IntRange(0, 4).Draw(t, "effects") {
			some := slices.Sorted(maps.Keys(nowLive))
			value := rapid.Int64Range(1, 5).Draw(t, "value")
			switch k := rapid.IntRange(0, 8).Draw(t, "kind"); {
			case k == 0 && !slices.ContainsFunc(effects, func(e history.Effect) bool { return e.Kind == history.EventInsert }):
				effects = append(effects, event(value))
			case k == 1 && shared.Count > 0 && value > 2:
				effects = append(effects, count(shared.First+value%int64(shared.Count), value))
			case k == 1:
				effects = append(effects, count(pool.FirstCounter+value%int64(pool.Counters), value))
			case k == 2:
				effects = append(effects, transfer(pool.FirstAccount, pool.FirstAccount+1+value%2, value))
			case k == 3 && !nowBulks[n]:
				effects = append(effects, bulk(value))
				nowBulks[n] = true
			case k == 4 && len(bulks) > 0:
				b := slices.Sorted(maps.Keys(bulks))[0]
				effects = append(effects, bulkDelete(b))
				delete(nowBulks, b)
			case k == 5 && len(some) > 0:
				effects = append(effects, update(some[0], value))
			case k == 6 && len(some) > 0:
				effects = append(effects, del(some[len(some)-1]))
				delete(nowLive, some[len(some)-1])
			case k == 7 && len(some) > 0:
				fresh++
				effects = append(effects, rekey(some[0], s.key(fresh)))
				delete(nowLive, some[0])
				nowLive[s.key(fresh)] = true
			default: // sometimes at a key that was used before
				key := s.key(rapid.Int64Range(1, fresh+1).Draw(t, "key"))
				if nowLive[key] {
					break
				}
				fresh = max(fresh, key&(1<<32-1))
				effects = append(effects, insert(key, value))
				nowLive[key] = true
			}
		}
		s.op(outcome, effects...)
		if committed {
			live, bulks = nowLive, nowBulks
			there = append(there, n)
		}
		for _, node := range w.round.Survivors {
			w.change(node, s, committed && n <= int64(reached), []int64{n})
		}
	}
	for range rapid.IntRange(0, 4).Draw(t, "observations") {
		node := rapid.SampledFrom(w.run.Nodes).Draw(t, "observed node")
		upTo := int64(size)
		if node != w.round.Failed || w.round.Kind == rundir.KindCrash {
			upTo = int64(reached)
		}
		upTo = rapid.Int64Range(0, upTo).Draw(t, "up to")
		after := rapid.Int64Range(0, upTo).Draw(t, "after")
		var seen []int64
		for _, n := range there {
			if n > after && n <= upTo {
				seen = append(seen, n)
			}
		}
		w.observe(node, 20, rapid.Bool().Draw(t, "durable"), s, after, seen...)
	}
}

// judge checks a drawn round in a directory of its own.
func judge(t *rapid.T, tb testing.TB, w *world) []Finding {
	dir, err := os.MkdirTemp(tb.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	w.writeTo(dir)
	r, err := CheckRound(tb.Context(), w.run, dir, 1)
	if err != nil {
		t.Fatal(err)
	}
	return r.Findings
}

// TestWhatWentRightGivesNoFinding is soundness, against a model that shares no code with the checker.
func TestWhatWentRightGivesNoFinding(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := drawWorld(rt, t)
		if f := judge(rt, t, w); len(f) > 0 {
			rt.Fatalf("findings %+v", f)
		}
	})
}

// TestEveryMutationGivesAFinding is completeness: any one row of any survivor that is
// dropped, doubled or changed, and any one effect that is left out, is seen.
func TestEveryMutationGivesAFinding(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := drawWorld(rt, t)
		node := rapid.SampledFrom(w.round.Survivors).Draw(rt, "mutated node")
		before := w.contents(node)
		w.edit(node, func(tb *tables) {
			var names []string
			for _, name := range rundir.Tables {
				if len((*tb)[name]) > 0 {
					names = append(names, name)
				}
			}
			name := rapid.SampledFrom(names).Draw(rt, "table")
			rows := (*tb)[name]
			i := rapid.IntRange(0, len(rows)-1).Draw(rt, "row")
			switch rapid.IntRange(0, 2).Draw(rt, "mutation") {
			case 0:
				(*tb)[name] = slices.Delete(rows, i, i+1)
			case 1:
				tb.insert(name, rows[i]...)
			default:
				column := rapid.IntRange(0, len(rows[i])-1).Draw(rt, "column")
				rows[i][column] += rapid.SampledFrom([]int64{-1, 1, 1000, 1 << 40}).Draw(rt, "by")
			}
		})
		frozen := w.contents(node) // the draws are made once
		w.edits[node] = []func(*tables){func(tb *tables) { *tb = frozen }}
		if f := judge(rt, t, w); len(f) == 0 {
			rt.Fatalf("no finding; before %v, after %v", before, frozen)
		}
	})
}

// same compares two nodes' rows; a table without rows may be there or not.
func same(a, b tables) bool {
	for _, name := range rundir.Tables {
		if !slices.EqualFunc(a[name], b[name], slices.Equal[[]int64]) {
			return false
		}
	}
	return true
}

func TestAnEffectLeftOutGivesAFinding(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := drawWorld(rt, t)
		node := rapid.SampledFrom(w.round.Survivors).Draw(rt, "mutated node")
		s := rapid.SampledFrom(w.sessions).Draw(rt, "session")
		op := &s.ops[rapid.IntRange(0, len(s.ops)-1).Draw(rt, "operation")]
		if len(op.Effects) == 0 {
			rt.Skip("nothing to leave out")
		}
		i := rapid.IntRange(0, len(op.Effects)-1).Draw(rt, "effect")
		before := w.contents(node)
		all := op.Effects
		op.Effects = slices.Delete(slices.Clone(all), i, i+1)
		after := w.contents(node)
		op.Effects = all
		if same(before, after) {
			rt.Skip("it made no difference")
		}
		w.edits[node] = []func(*tables){func(tb *tables) { *tb = after }}
		if f := judge(rt, t, w); len(f) == 0 {
			rt.Fatalf("no finding without effect %d of %v; before %v, after %v", i, op, before, after)
		}
	})
}
