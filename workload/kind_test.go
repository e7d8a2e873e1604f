package workload

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/spockchaos/spockchaos/workload/history"
)

// model is the workload's tables, as effects say and as statements say. The two are
// computed apart and must agree.
type model struct {
	registers map[int64][3]int64 // session, n, value
	pads      map[int64]int64    // register key to PadSum
	counters  map[int64]int64
	accounts  map[int64]int64
	events    map[[3]int64]int // session, n, seq to how often
	bulk      map[[2]int64]int64
	versions  map[[3]int64]int64 // session, n, key to value
}

func newModel() *model {
	return &model{map[int64][3]int64{}, map[int64]int64{}, map[int64]int64{}, map[int64]int64{}, map[[3]int64]int{}, map[[2]int64]int64{}, map[[3]int64]int64{}}
}

func (m *model) effects(seed uint64, session int, n int64, effects []history.Effect) {
	s := int64(session)
	for _, e := range effects {
		switch e.Kind {
		case history.EventInsert:
			for seq := range e.Value {
				m.events[[3]int64{s, n, seq}]++
			}
		case history.RegisterInsert:
			m.registers[e.Key] = [3]int64{s, n, e.Value}
			m.pads[e.Key] = history.PadSum(history.Pad(seed, e.Key, n))
		case history.RegisterUpdate:
			m.registers[e.Key] = [3]int64{s, n, e.Value}
		case history.RegisterDelete:
			delete(m.registers, e.Key)
			delete(m.pads, e.Key)
		case history.RegisterRekey:
			m.registers[e.Key2], m.pads[e.Key2] = [3]int64{s, n, m.registers[e.Key][2]}, m.pads[e.Key]
			delete(m.registers, e.Key)
			delete(m.pads, e.Key)
		case history.CounterAdd:
			m.counters[e.Key] += e.Value
		case history.Transfer:
			m.accounts[e.Key] -= e.Value
			m.accounts[e.Key2] += e.Value
		case history.BulkInsert:
			m.bulk[[2]int64{s, n}] = e.Value
		case history.BulkDelete:
			delete(m.bulk, [2]int64{s, e.Key})
		case history.ConflictPut:
			m.versions[[3]int64{s, n, e.Key}] = e.Value
		}
	}
}

// statements applies a plan's statements, and says whether each affects the rows it must.
func (m *model) statements(t *rapid.T, p *plan) {
	for i := range p.steps {
		s := &p.steps[i]
		var v []int64
		var text string
		for b := p.params[s.from:s.to]; len(b) > 0; {
			n := binary.BigEndian.Uint32(b)
			switch x := b[4 : 4+n]; n {
			case 4:
				v = append(v, int64(int32(binary.BigEndian.Uint32(x))))
			case 8:
				v = append(v, int64(binary.BigEndian.Uint64(x)))
			default:
				text = string(x)
				v = append(v, 0)
			}
			b = b[4+n:]
		}
		_, oids := s.st.sql()
		if len(v) != len(oids) || s.count != len(oids) {
			t.Fatalf("statement %d has %d parameters, not %d", s.st, len(v), len(oids))
		}
		rows := int64(1)
		exists := func(key int64) {
			if _, ok := m.registers[key]; !ok {
				t.Fatalf("register %d does not exist", key)
			}
		}
		switch s.st {
		case stMarker:
			if i != 0 || v[2] != history.LedgerValue(p.seed, int(v[0]), v[1]) {
				t.Fatalf("marker %v is step %d", v, i)
			}
		case stEvent:
			m.events[[3]int64{v[0], v[1], v[2]}]++
		case stRegisterInsert:
			if _, ok := m.registers[v[0]]; ok {
				t.Fatalf("register %d exists", v[0])
			}
			m.registers[v[0]], m.pads[v[0]] = [3]int64{v[1], v[2], v[3]}, history.PadSum(text)
		case stRegisterUpdate:
			exists(v[0])
			m.registers[v[0]] = [3]int64{v[1], v[2], v[3]}
		case stRegisterDelete:
			exists(v[0])
			delete(m.registers, v[0])
			delete(m.pads, v[0])
		case stRegisterRekey:
			exists(v[0])
			if _, ok := m.registers[v[1]]; ok {
				t.Fatalf("register %d exists", v[1])
			}
			m.registers[v[1]], m.pads[v[1]] = [3]int64{v[2], v[3], m.registers[v[0]][2]}, m.pads[v[0]]
			delete(m.registers, v[0])
			delete(m.pads, v[0])
		case stCounterAdd:
			m.counters[v[0]] += v[1]
		case stAccountAdd:
			m.accounts[v[0]] += v[1]
		case stBulkInsert:
			m.bulk[[2]int64{v[0], v[1]}] = v[2]
			rows = v[2]
		case stBulkDelete:
			rows = m.bulk[[2]int64{v[0], v[1]}]
			delete(m.bulk, [2]int64{v[0], v[1]})
		case stConflictPut:
			if _, ok := m.versions[[3]int64{v[1], v[2], v[0]}]; ok {
				t.Fatalf("key %d twice in a transaction", v[0])
			}
			m.versions[[3]int64{v[1], v[2], v[0]}] = v[3]
		default:
			t.Fatalf("statement %d in a plan", s.st)
		}
		if s.rows != rows {
			t.Fatalf("statement %d must affect %d rows, not %d", s.st, rows, s.rows)
		}
	}
}

func (m *model) clone() *model {
	return &model{clone(m.registers), clone(m.pads), clone(m.counters), clone(m.accounts), clone(m.events), clone(m.bulk), clone(m.versions)}
}

func clone[K comparable, V any](m map[K]V) map[K]V {
	c := make(map[K]V, len(m))
	for k, v := range m {
		c[k] = v
	}
	return c
}

func equal[K, V comparable](a, b map[K]V) bool {
	for k, v := range a {
		if b[k] != v {
			return false
		}
	}
	for k, v := range b {
		if a[k] != v {
			return false
		}
	}
	return true
}

func (m *model) equal(o *model) bool {
	return equal(m.registers, o.registers) && equal(m.pads, o.pads) && equal(m.counters, o.counters) &&
		equal(m.accounts, o.accounts) && equal(m.events, o.events) && equal(m.bulk, o.bulk) && equal(m.versions, o.versions)
}

// Whatever is committed and what is not: the effects say what the statements do, and
// each statement finds the rows that it must.
func TestKindsDrawConsistentTransactions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "seed")
		name := rapid.SampledFrom([]string{Ledger, Register, Counter, Bank, Conflicts}).Draw(t, "workload")
		failures := rapid.IntRange(0, 100).Draw(t, "failures in a hundred")
		w := Describe(seed, []string{"n1"}, Config{SharedCounters: rapid.Bool().Draw(t, "shared counters")})
		d := history.Session{ID: 7, Node: "n1", Workload: name}
		k, err := newKind(d, w, Config{}.withDefaults())
		if err != nil {
			t.Fatal(err)
		}
		k = newHeavy(k, 10_000, 3)
		r, fate := rand.New(rand.NewPCG(seed, 1)), rand.New(rand.NewPCG(seed, 2))
		p := plan{seed: seed, session: d.ID}
		byEffect, byStatement := newModel(), newModel()
		for n := int64(1); n <= 400; n++ {
			p.reset(n)
			k.next(r, &p)
			if len(p.steps) > maxChanges+1 || p.breakAt < 0 || (p.breakAt > 0 && p.breakAt >= len(p.steps)) {
				t.Fatalf("%d steps, break at %d", len(p.steps), p.breakAt)
			}
			if total := byEffect.total(); total != 0 {
				t.Fatalf("the total is off by %d", total)
			}
			tried := byStatement.clone()
			tried.statements(t, &p)
			committed := fate.IntN(100) >= failures
			if committed {
				byStatement = tried
				byEffect.effects(seed, d.ID, n, p.effects)
			}
			k.settle(committed)
			if n%97 == 0 {
				k.reload(slices.Collect(keysOf(byStatement.registers)))
			}
			if n%50 == 0 && !byEffect.equal(byStatement) {
				t.Fatalf("at %d effects and statements say different things", n)
			}
		}
	})
}

func keysOf[K comparable, V any](m map[K]V) func(func(K) bool) {
	return func(yield func(K) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func (m *model) total() (sum int64) {
	for _, v := range m.accounts {
		sum += v
	}
	return sum
}

// The same seed gives the same transactions, and in the end every kind of change.
func TestKindsCoverEveryEffect(t *testing.T) {
	w := Describe(1, []string{"n1"}, Config{})
	seen := map[history.EffectKind]int{}
	longest, broken, held := 0, 0, 0
	for _, name := range []string{Ledger, Register, Counter, Bank, Conflicts} {
		var runs [2][]history.Effect
		for i := range runs {
			k, err := newKind(history.Session{ID: 3, Node: "n1", Workload: name}, w, Config{}.withDefaults())
			if err != nil {
				t.Fatal(err)
			}
			k = newHeavy(k, 10, 3)
			r := rand.New(rand.NewPCG(1, 1))
			p := plan{seed: 1, session: 3}
			for n := int64(1); n <= 3000; n++ {
				p.reset(n)
				k.next(r, &p)
				k.settle(true)
				for _, e := range p.effects {
					seen[e.Kind]++
				}
				runs[i] = append(runs[i], p.effects...)
				longest = max(longest, len(p.steps))
				if p.breakAt > 0 {
					broken++
				}
				if p.hold > 0 {
					held++
				}
			}
		}
		if !slices.Equal(runs[0], runs[1]) {
			t.Fatalf("%s: two runs with one seed differ", name)
		}
	}
	for k := history.EventInsert; k <= history.ConflictPut; k++ {
		if seen[k] == 0 {
			t.Errorf("no %v was drawn", k)
		}
	}
	if longest != maxChanges+1 || broken == 0 || held != 5*2*3 {
		t.Errorf("longest %d, broken %d, held %d", longest, broken, held)
	}
}

// Counters that all nodes share are drawn where there are such, and change nothing where there are none.
func TestSharedCounters(t *testing.T) {
	draw := func(cfg Config) (digest uint64, own, shared int) {
		w := Describe(1, []string{"n1", "n2"}, cfg)
		k, err := newKind(history.Session{ID: 3, Node: "n2", Workload: Counter}, w, cfg.withDefaults())
		if err != nil {
			t.Fatal(err)
		}
		h := fnv.New64a()
		r := rand.New(rand.NewPCG(1, 1))
		p := plan{seed: 1, session: 3}
		for n := int64(1); n <= 1000; n++ {
			p.reset(n)
			k.next(r, &p)
			fmt.Fprintln(h, p.effects, p.breakAt)
			for i, e := range p.effects {
				switch {
				case i > 0 && e.Key < p.effects[i-1].Key:
					t.Fatalf("transaction %d takes counter %d after %d", n, e.Key, p.effects[i-1].Key)
				case e.Key >= 2_000_000 && e.Key < 2_000_032:
					own++
				case e.Key >= 3_000_000 && e.Key < 3_000_032:
					shared++
				default:
					t.Fatalf("transaction %d takes counter %d", n, e.Key)
				}
			}
		}
		return h.Sum64(), own, shared
	}
	// As it was before there were shared counters, so that a seed's run stays what it was.
	if digest, _, shared := draw(Config{}); digest != 0x8584ebba0118693b || shared != 0 {
		t.Errorf("without shared counters: digest %x, %d shared", digest, shared)
	}
	if _, own, shared := draw(Config{SharedCounters: true}); own < 1000 || shared < 1000 || own-shared > own/5 || shared-own > own/5 {
		t.Errorf("with shared counters: %d own, %d shared", own, shared)
	}
	if a, b := Describe(1, []string{"n1"}, Config{}), Describe(1, []string{"n1"}, Config{SharedCounters: true}); a.SharedCounters.Count != 0 ||
		!slices.Equal(a.Sessions, b.Sessions) || !slices.Equal(a.Pools, b.Pools) {
		t.Errorf("%+v\n%+v", a, b)
	}
}

func TestDescribe(t *testing.T) {
	nodes := []string{"n1", "n2", "n3"}
	for _, tc := range []struct {
		nodes   []string
		cfg     Config
		n1, all int
	}{
		{nodes, Config{}, 8, 12},
		{nodes, Config{Sessions: 3}, 4, 8},
		{nodes, Config{Sessions: 24}, 16, 24},
		{nodes, Config{Sessions: 4, Workloads: []string{Bank}}, 1, 5},
		{nodes[:1], Config{Sessions: 12, Workloads: []string{Ledger}}, 12, 12},
		{[]string{"n1", "n2", "n3", "n4", "n5"}, Config{}, 12, 20},
		{nodes, Config{Workloads: []string{Ledger, Register, Counter, Bank, Conflicts}}, 8, 12},
		{nodes, Config{Workloads: []string{Conflicts}, Sessions: 1}, 1, 5},
	} {
		w := Describe(5, tc.nodes, tc.cfg)
		count := map[string]int{}
		kinds := map[string]bool{}
		for i, s := range w.Sessions {
			if s.ID != i+1 {
				t.Fatalf("session %d has id %d", i+1, s.ID)
			}
			count[s.Node]++
			if s.Node == "n1" {
				kinds[s.Workload] = true
			}
		}
		if count["n1"] != tc.n1 || len(w.Sessions) != tc.all || len(kinds) != len(tc.cfg.withDefaults().Workloads) {
			t.Errorf("%+v: %d on n1, %d in all, %d workloads on n1", tc.cfg, count["n1"], len(w.Sessions), len(kinds))
		}
		for _, n := range tc.nodes[1:] {
			if count[n] < 2 {
				t.Errorf("%+v: %d sessions on %s", tc.cfg, count[n], n)
			}
			writes := slices.ContainsFunc(w.Sessions, func(s history.Session) bool { return s.Node == n && s.Workload == Conflicts })
			if chosen := slices.Contains(tc.cfg.Workloads, Conflicts); writes != chosen || (w.Conflict != nil) != chosen {
				t.Errorf("%+v: conflicts on %s: %t, keys %v", tc.cfg, n, writes, w.Conflict)
			}
		}
		if len(w.Pools) != len(tc.nodes) || w.Pools[len(w.Pools)-1].FirstAccount != int64(len(tc.nodes))*1_000_000 {
			t.Errorf("%+v: pools %+v", tc.cfg, w.Pools)
		}
	}
}

func TestConfigValidate(t *testing.T) {
	for _, c := range []Config{
		{Workloads: []string{"ledgr"}}, {Workloads: []string{Bank, Bank}}, {Sessions: -1}, {Rate: -1},
		{LargeRows: -1}, {OpTimeout: -1},
	} {
		if c.Validate() == nil {
			t.Errorf("%+v is accepted", c)
		}
	}
	if err := (Config{Workloads: []string{Bank, Ledger}, Sessions: 5, Rate: 10.5}).Validate(); err != nil {
		t.Error(err)
	}
}

func TestStats(t *testing.T) {
	s := NewStats()
	a, b := s.shard(Ledger), s.shard(Bank)
	a.count(history.OK, 1000)
	a.count(history.OK, 5_000_000)
	a.count(history.Fail, 0)
	b.count(history.Unknown, 0)
	b.count(history.OK, -5)
	got := s.Snapshot()
	if got.Counts != (Counts{3, 1, 1}) || got.ByWorkload[Ledger].Counts != (Counts{2, 1, 0}) || got.ByWorkload[Bank].Counts != (Counts{1, 0, 1}) {
		t.Fatalf("%+v", got)
	}
	if l := got.ByWorkload[Ledger].Latency; l.Max < 4_900_000 || l.Max > 5_100_000 || l.P50 <= 0 {
		t.Fatalf("latency %+v", l)
	}
}
