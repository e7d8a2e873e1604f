package checker

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/workload/history"
)

// BenchmarkCheck judges a round of benchOps operations of the usual mix whose final
// snapshots are those of three nodes. It reports operations a second and the highest heap
// that was seen, for two sizes: the heap must not grow with the history.
func BenchmarkCheck(b *testing.B) {
	for _, c := range []struct {
		name string
		ops  int
	}{{"250k", 250_000}, {"2M", 2_000_000}} {
		b.Run(c.name, func(b *testing.B) {
			run, dir := benchRound(b, c.ops)
			runtime.GC()
			peak, stop := samplePeak()
			b.ResetTimer()
			for range b.N {
				r, err := CheckRound(b.Context(), run, dir, 1)
				if err != nil {
					b.Fatal(err)
				}
				if len(r.Findings) > 0 || r.Operations.OK+r.Operations.Fail+r.Operations.Unknown != int64(c.ops) {
					b.Fatalf("%+v", r)
				}
			}
			b.StopTimer()
			stop()
			b.ReportMetric(float64(c.ops)*float64(b.N)/b.Elapsed().Seconds(), "ops/s")
			b.ReportMetric(float64(peak.Load())/(1<<20), "peak-heap-MB")
		})
	}
}

// samplePeak watches the heap until stop is called.
func samplePeak() (peak *atomic.Uint64, stop func()) {
	peak = new(atomic.Uint64)
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			peak.Store(max(peak.Load(), m.HeapInuse))
			select {
			case <-tick.C:
			case <-quit:
				return
			}
		}
	}()
	return peak, func() { close(quit); <-done }
}

// benchRound writes a crash round of the given size, session by session, so that
// making it needs no more memory than judging it.
func benchRound(b *testing.B, ops int) (rundir.Run, string) {
	b.Helper()
	const sessions = 8
	dir := b.TempDir()
	w := newWorld(b).crash()
	rd := rundir.RoundDir(dir, 1)
	must := func(err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	must(rundir.WriteJSON(filepath.Join(rd, rundir.RoundFile), w.round))
	must(os.MkdirAll(filepath.Join(rd, rundir.HistoryDir), 0o755))
	out := make(map[string]*rundir.RowWriter)
	for _, table := range rundir.Tables {
		f, err := rundir.CreateRows(rundir.FinalTable(rd, "n1", table), table)
		must(err)
		out[table] = f
	}
	rng := rand.New(rand.NewPCG(1, 2))
	counters, accounts := newCounters(w.run.Workload), newAccounts(w.run.Workload.Pools)
	for id := 1; id <= sessions; id++ {
		node := w.run.Nodes[id%3]
		pool := w.run.Workload.Pools[id%3]
		h, err := history.Create(filepath.Join(rd, rundir.HistoryDir, strconv.Itoa(id)+".hist"), history.Header{Session: id, Node: node, Workload: "mixed", Seed: testSeed})
		must(err)
		live, bulks := newRegisterReplay(), bulkReplay{}
		bulks.reset()
		var effects []history.Effect
		for n := int64(1); n <= int64(ops/sessions); n++ {
			key := int64(id)<<32 | rng.Int64N(200)
			effects = effects[:0]
			_, there := live.live[key]
			switch k := rng.IntN(20); {
			case k < 8:
				effects = append(effects, event(1))
			case k < 13 && there:
				effects = append(effects, update(key, n))
			case k < 13:
				effects = append(effects, insert(key, n))
			case k == 13 && there:
				effects = append(effects, del(key))
			case k < 17:
				effects = append(effects, count(pool.FirstCounter, 1))
			case k < 19:
				effects = append(effects, transfer(pool.FirstAccount, pool.FirstAccount+1, 3))
			default:
				effects = append(effects, event(2), count(pool.FirstCounter+1, 2))
			}
			if n%10_000 == 0 {
				effects = append(effects, bulk(10_000))
			}
			outcome := history.OK
			if n%100 == 0 {
				outcome = []history.Outcome{history.Fail, history.Unknown}[n/100%2]
			}
			t := at(float64(n) / 1e4)
			must(h.Invoke(n, t, effects))
			must(h.Complete(n, t.Add(50*time.Microsecond), outcome, ""))
			if outcome == history.Fail || outcome == history.Unknown && n%300 == 0 {
				continue
			}
			op := &history.Op{N: n, Effects: effects}
			live.apply(op)
			bulks.apply(op)
			counters.applyCounter(op)
			accounts.applyAccount(op)
			must(out[rundir.TableLedger].Write([]int64{int64(id), n, history.LedgerValue(testSeed, id, n)}))
			for _, e := range effects {
				if e.Kind == history.EventInsert {
					for seq := range e.Value {
						must(out[rundir.TableEvent].Write([]int64{int64(id), n, seq}))
					}
				}
			}
		}
		must(h.Close())
		for _, k := range sortedKeys(live.live) {
			r := live.live[k]
			must(out[rundir.TableRegister].Write([]int64{k, int64(id), r.n, r.value, padSum(nil, testSeed, r.padKey, r.pad)}))
		}
		for _, n := range sortedKeys(bulks.rows) {
			must(out[rundir.TableBulk].Write([]int64{int64(id), n, bulks.rows[n].rows, bulks.rows[n].sum}))
		}
	}
	for table, m := range map[string]counterReplay{rundir.TableCounter: counters, rundir.TableAccount: accounts} {
		for _, k := range sortedKeys(m) {
			must(out[table].Write([]int64{k, m[k]}))
		}
	}
	for table, f := range out {
		must(f.Close())
		bytes, err := os.ReadFile(rundir.FinalTable(rd, "n1", table))
		must(err)
		for _, node := range []string{"n2", "n3"} {
			must(os.MkdirAll(filepath.Dir(rundir.FinalTable(rd, node, table)), 0o755))
			must(os.WriteFile(rundir.FinalTable(rd, node, table), bytes, 0o644))
		}
	}
	return w.run, dir
}

func sortedKeys[V any](m map[int64]V) []int64 {
	keys := make([]int64, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
