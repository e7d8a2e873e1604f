package checker

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/workload/history"
)

// key is a conflict key that begins without a row, hotKey one that has one.
const (
	key    = 1000
	hotKey = 1
)

// conflictWorld has a session on every node, which wrote the key once, one after the other:
// session 1 of n1 inserted it at 10 s, session 2 of n2 updated that at 12 s, session 3 of n3 wrote another key at 14 s.
func conflictWorld(w *world, key int64) (s1, s2, s3 *testSession) {
	w.run.Workload.Conflict = &history.ConflictKeys{Hot: 2}
	s1, s2, s3 = w.session(1, "n1"), w.session(2, "n2"), w.session(3, "n3")
	s1.ok(put(s1, key))
	s2.ok(put(s2, key))
	s3.ok(put(s3, 2000))
	first := noRow
	if key == hotKey {
		first = opID{0, history.InitialWrite}
	}
	w.overwrote(s1, 1, first, 10).overwrote(s2, 1, opID{1, 1}, 12).overwrote(s3, 1, noRow, 14)
	return s1, s2, s3
}

// overwrote says what a session's write overwrote and when it was committed.
func (w *world) overwrote(s *testSession, n int64, prev opID, seconds float64) *world {
	w.wrote[opID{s.id, n}] = write{prev: prev, at: at(seconds).UnixMicro()}
	return w
}

// holds says that a node holds another write of a key than it should.
func (w *world) holds(node string, key int64, s *testSession, n int64) *world {
	return w.edit(node, func(t *tables) {
		v := t.row(rundir.TableVersion, int64(s.id), n, key)
		t.update(rundir.TableConflict, key, func(r []int64) { copy(r[1:], append([]int64{v[0], v[1]}, v[3:]...)) })
	})
}

func TestConflicts(t *testing.T) {
	both := []string{"n2", "n3"}
	runCases(t, []ruleCase{
		{"the newest everywhere", func(w *world) { conflictWorld(w, key) }, ""},
		{"the newest everywhere, hot", func(w *world) { conflictWorld(w, hotKey) }, ""},
		{"the older one on a survivor, hot", func(w *world) {
			s1, _, _ := conflictWorld(w, hotKey)
			w.holds("n3", hotKey, s1, 1)
		}, "diverged n3"},
		{"what was there at first on a survivor", func(w *world) {
			conflictWorld(w, hotKey)
			w.edit("n3", func(t *tables) {
				t.update(rundir.TableConflict, hotKey, func(r []int64) { copy(r[1:], []int64{0, 1, 0, 0, 0, 0}) })
			})
		}, "diverged n3"},
		{"the older one everywhere", func(w *world) {
			s1, _, _ := conflictWorld(w, key)
			for _, node := range both {
				w.holds(node, key, s1, 1)
			}
		}, "lost n2, lost n3"},
		{"the row is missing", func(w *world) {
			conflictWorld(w, key)
			w.edit("n3", func(t *tables) { t.remove(rundir.TableConflict, is(key)) })
		}, "torn n3"},
		{"a hot row is missing that nobody wrote", func(w *world) {
			conflictWorld(w, key)
			w.edit("n3", func(t *tables) { t.remove(rundir.TableConflict, is(2)) })
		}, "torn n3"},
		{"a value that nobody wrote", func(w *world) {
			conflictWorld(w, key)
			w.edit("n3", func(t *tables) { t.row(rundir.TableConflict, key)[3]++ })
		}, "phantom n3"},
		{"a write that nobody made", func(w *world) {
			conflictWorld(w, key)
			w.edit("n3", func(t *tables) { t.row(rundir.TableConflict, key)[2] = 77 })
		}, "phantom n3"},
		{"a key that nobody wrote", func(w *world) {
			conflictWorld(w, key)
			w.edit("n3", func(t *tables) { t.insert(rundir.TableConflict, 5000, 1, 1, 5, 0, 0, 9) })
		}, "phantom n3"},
		{"a write whose transaction is not there", func(w *world) {
			_, s2, _ := conflictWorld(w, key)
			s2.unknown(put(s2, key))
			w.edit("n3", func(t *tables) {
				copy(t.row(rundir.TableConflict, key)[1:], []int64{2, 2, history.LedgerValue(testSeed, 2, 2) + 1, 2, 1, 1})
			})
		}, "torn n3"},
		{"committed apart from its transaction", func(w *world) {
			conflictWorld(w, key)
			w.edit("n3", func(t *tables) { t.row(rundir.TableConflict, key)[6]++ })
		}, "torn n3"},
		{"the newest is not there at all", func(w *world) {
			s1, s2, _ := conflictWorld(w, key)
			w.lacks("n3", s2, 1).holds("n3", key, s1, 1)
		}, "diverged n3, lost n3"},
		{"the newest is gone with its node", func(w *world) {
			s1, s2, _ := conflictWorld(w, key)
			w.round.Failed = "n2"
			w.round.Survivors = []string{"n1", "n3"}
			w.lacks("n1", s2, 1).lacks("n3", s2, 1).holds("n1", key, s1, 1).holds("n3", key, s1, 1)
		}, ""},
		{"an unknown write that is there counts", func(w *world) {
			_, s2, _ := conflictWorld(w, key)
			s2.unknown(put(s2, key))
			w.overwrote(s2, 2, opID{2, 1}, 15).has("n2", s2, 2).has("n3", s2, 2).holds("n2", key, s2, 1).holds("n3", key, s2, 1)
		}, "lost n2, lost n3"},
		{"rescued with another commit timestamp", func(w *world) {
			conflictWorld(w, key)
			w.edit("n3", func(t *tables) { // both rows of the transaction
				t.row(rundir.TableVersion, 2, 1, key)[6]++
				t.row(rundir.TableConflict, key)[6]++
			})
		}, "diverged n3"},
		{"version rows", func(w *world) {
			s1, s2, _ := conflictWorld(w, key)
			s1.fail(put(s1, key))
			s2.ok(put(s2, 3000), put(s2, 3001))
			w.edit("n3", func(t *tables) { // a wrong value, in both tables
				t.row(rundir.TableVersion, 2, 2, 3000)[3]++
				t.row(rundir.TableConflict, 3000)[3]++
			})
			w.edit("n3", func(t *tables) { t.insert(rundir.TableVersion, 1, 2, key, 1, 0, 0, 1) })
		}, "phantom n3, resurrected n3"},
		{"a version row is missing", func(w *world) {
			_, s2, _ := conflictWorld(w, key)
			s2.ok(put(s2, 3000), put(s2, 3001))
			w.edit("n3", func(t *tables) { t.remove(rundir.TableVersion, is(2, 2, 3000)) })
		}, "torn n3"},
	})
}

// onlyFinding checks a round that has exactly one finding about conflicts, made by the rule.
func onlyFinding(t *testing.T, w *world, kind Kind, node, rule string, words ...string) {
	t.Helper()
	r := w.check()
	if len(r.Findings) != 1 {
		t.Fatalf("findings %v", kinds(r.Findings))
	}
	f := r.Findings[0]
	if f.Kind != kind || f.Node != node || f.Evidence["rule"] != rule {
		t.Errorf("%s on %s by %v, want %s on %s by %s: %s", f.Kind, f.Node, f.Evidence["rule"], kind, node, rule, f.Summary)
	}
	for _, word := range words {
		if !strings.Contains(f.Summary, word) {
			t.Errorf("%q is not in: %s", word, f.Summary)
		}
	}
	t.Log(f.Summary)
	t.Log(f.Evidence)
}

// What a finding says of its reason.
func TestConflictReasons(t *testing.T) {
	t.Run("causality", func(t *testing.T) {
		w := newWorld(t)
		w.faults = []rundir.Fault{{Name: "lag", Target: "n3>n1", StartedAt: at(9), EndedAt: at(20), Effect: true}}
		s1, _, _ := conflictWorld(w, key)
		w.holds("n3", key, s1, 1)
		for _, n := range []int64{7, 1} { // only the second is about the write
			w.explanations = append(w.explanations, rundir.Explanation{Node: "n3", Source: "server log", Entry: fmt.Sprint("entry ", n),
				Row: &rundir.RowVersion{Table: rundir.TableConflict, Columns: map[string]int64{"key": key, "session": 2, "n": n}, Origin: "n2", CommittedAt: at(12)}})
		}
		onlyFinding(t, w, Diverged, "n3", "conflict_causality", "; server log of n3: entry 1", "n2 updated a row that n1 had inserted (session 1 n 1)", "session 2 n 1 of n2")
	})
	t.Run("causality, over two updates", func(t *testing.T) {
		w := newWorld(t).crash()
		s1, s2, _ := conflictWorld(w, key)
		s2.ok(put(s2, key))
		w.overwrote(s2, 2, opID{2, 1}, 13).holds("n3", key, s1, 1)
		onlyFinding(t, w, Diverged, "n3", "conflict_causality", "session 2 n 2 of n2")
	})
	t.Run("causality, and no row at all", func(t *testing.T) {
		w := newWorld(t)
		s1, _, _ := conflictWorld(w, key)
		w.lacks("n3", s1, 1).lacks("n2", s1, 1)
		w.edit("n3", func(t *tables) { t.remove(rundir.TableConflict, is(key)) })
		onlyFinding(t, w, Diverged, "n3", "conflict", "has no row") // the insert is on no survivor: nothing shows who made it
	})
	t.Run("causality, and a rescue from where it was skipped", func(t *testing.T) {
		// n1 updated what n3 had inserted; n2 did not have that yet; n3 did not have n1's update when n1 was lost.
		for _, source := range []string{"n2", "n3"} {
			w := newWorld(t)
			s1, _, s3 := conflictWorld(w, key)
			s3.ok(put(s3, 3000))
			s1.ok(put(s1, 3000))
			w.overwrote(s3, 2, noRow, 15).overwrote(s1, 2, opID{3, 2}, 16).holds("n2", 3000, s3, 2).holds("n3", 3000, s3, 2)
			target := map[string]string{"n2": "n3", "n3": "n2"}[source]
			w.rescues = []rundir.Rescue{{Failed: "n1", Source: source, Target: target, StartedAt: at(31), EndedAt: at(32), OK: true, Limit: time.Minute, Transactions: 1,
				Again: &rundir.Again{OK: true}}}
			r := w.check()
			want := map[string]string{"n2": "conflict_causality", "n3": "conflict"}[source] // n3 cannot have skipped it
			for _, f := range r.Findings {
				if f.Kind != Lost || f.Evidence["rule"] != want || source == "n2" && !strings.Contains(f.Summary, "n2 skipped it, and so the rescue of n3 from there could not bring it") {
					t.Errorf("rescue from %s: %s by %v: %s", source, f.Kind, f.Evidence["rule"], f.Summary)
				}
			}
			if got := strings.Join(kinds(r.Findings), ", "); got != "lost n2, lost n3" {
				t.Errorf("rescue from %s: findings %s", source, got)
			}
		}
	})
	t.Run("not causality: the update came from where the row did", func(t *testing.T) {
		w := newWorld(t)
		s1, s2, _ := conflictWorld(w, key)
		w.overwrote(s2, 1, noRow, 9)
		s2.ok(put(s2, key))
		w.overwrote(s2, 2, opID{2, 1}, 12).holds("n3", key, s1, 1)
		onlyFinding(t, w, Diverged, "n3", "conflict", "nothing in the timestamps explains it")
	})
	t.Run("not causality: the row was inserted where it is wrong", func(t *testing.T) {
		w := newWorld(t)
		_, s2, s3 := conflictWorld(w, key)
		s3.ok(put(s3, 3000))
		s2.ok(put(s2, 3000))
		w.overwrote(s3, 2, noRow, 15).overwrote(s2, 2, opID{3, 2}, 16).holds("n3", 3000, s3, 2)
		onlyFinding(t, w, Diverged, "n3", "conflict")
	})
	t.Run("not causality: the row was always there", func(t *testing.T) {
		w := newWorld(t)
		s1, _, _ := conflictWorld(w, hotKey)
		w.holds("n3", hotKey, s1, 1)
		onlyFinding(t, w, Diverged, "n3", "conflict")
	})
	t.Run("not there at all", func(t *testing.T) {
		w := newWorld(t)
		s1, s2, _ := conflictWorld(w, key)
		w.lacks("n3", s2, 1).holds("n3", key, s1, 1)
		w.explanations = []rundir.Explanation{{Node: "n3", Session: 2, N: 1, Source: "log", Entry: "discarded"}}
		r := w.check()
		if got := strings.Join(kinds(r.Findings), ", "); got != "diverged n3, explained_loss n3" || r.Findings[0].Evidence["rule"] != "conflict_absent" {
			t.Errorf("findings %s, %v", got, r.Findings[0].Evidence["rule"])
		}
		for _, text := range []string{"n2 updated a row that n1 had inserted (session 1 n 1), which may have come later", "log there says why: discarded"} {
			if !strings.Contains(r.Findings[0].Summary, text) {
				t.Errorf("%q is not in: %s", text, r.Findings[0].Summary)
			}
		}
	})
	t.Run("tie", func(t *testing.T) {
		w := newWorld(t)
		s1, s2, _ := conflictWorld(w, key)
		w.overwrote(s2, 1, noRow, 10).holds("n3", key, s1, 1)
		onlyFinding(t, w, Diverged, "n3", "conflict_tie")
	})
	t.Run("tie, and all agree", func(t *testing.T) {
		w := newWorld(t)
		s1, s2, _ := conflictWorld(w, key)
		w.overwrote(s2, 1, noRow, 10).holds("n2", key, s1, 1).holds("n3", key, s1, 1)
		if r := w.check(); len(r.Findings) > 0 {
			t.Errorf("findings %v", kinds(r.Findings))
		}
	})
	t.Run("clock behind", func(t *testing.T) {
		// n2 overwrote n1's write with a timestamp before it. It stays on n2; n3 goes by the timestamps.
		w := newWorld(t)
		s1, s2, _ := conflictWorld(w, hotKey)
		w.overwrote(s2, 1, opID{1, 1}, 8).holds("n2", hotKey, s2, 1).holds("n3", hotKey, s1, 1)
		onlyFinding(t, w, Diverged, "n2", "conflict_clock", "overwrote session 1 n 1 of n1", "later by 2s", "the clock of n2 was behind that of n1")
	})
	t.Run("clock behind, and a later write covers it", func(t *testing.T) {
		w := newWorld(t)
		_, s2, s3 := conflictWorld(w, hotKey)
		s3.ok(put(s3, hotKey))
		w.overwrote(s2, 1, opID{1, 1}, 8).overwrote(s3, 2, opID{2, 1}, 15)
		if r := w.check(); len(r.Findings) > 0 {
			t.Errorf("findings %v", kinds(r.Findings))
		}
	})
	t.Run("clock set back, and all agree", func(t *testing.T) {
		// An engine that lets a node's own later update pass, whatever its time, ends with it everywhere.
		w := newWorld(t)
		_, s2, _ := conflictWorld(w, hotKey)
		s2.ok(put(s2, hotKey))
		w.overwrote(s2, 2, opID{2, 1}, 8).holds("n2", hotKey, s2, 2).holds("n3", hotKey, s2, 2)
		if r := w.check(); len(r.Findings) > 0 {
			t.Errorf("findings %v", kinds(r.Findings))
		}
	})
	t.Run("clock set back, and they do not agree", func(t *testing.T) {
		w := newWorld(t)
		_, s2, _ := conflictWorld(w, hotKey)
		s2.ok(put(s2, hotKey))
		w.overwrote(s2, 2, opID{2, 1}, 8).holds("n2", hotKey, s2, 2)
		onlyFinding(t, w, Diverged, "n2", "conflict_clock", "the clock of n2 was set back")
	})
	t.Run("a clock behind is no excuse for other keys", func(t *testing.T) {
		w := newWorld(t)
		s1, s2, _ := conflictWorld(w, hotKey)
		w.overwrote(s2, 1, opID{1, 1}, 8).holds("n2", hotKey, s1, 1) // there, n1's write was overwritten in vain: the timestamps say so
		s1.ok(put(s1, 2))
		s2.ok(put(s2, 2))
		first := opID{0, history.InitialWrite}
		w.overwrote(s1, 2, first, 16).overwrote(s2, 2, opID{1, 2}, 17).holds("n2", 2, s1, 2).holds("n3", 2, s1, 2)
		if got := strings.Join(kinds(w.check().Findings), ", "); got != "lost n2, lost n3" {
			t.Errorf("findings %s", got)
		}
	})
}

// A run from before there were conflicts has no files of them.
func TestRunWithoutConflicts(t *testing.T) {
	w := newWorld(t)
	w.session(1, "n1").ok().ok()
	if n := len((&input{run: w.run}).tables()); n != 6 {
		t.Fatalf("%d tables", n)
	}
	if r := w.check(); len(r.Findings) > 0 {
		t.Errorf("findings %v", kinds(r.Findings))
	}
}

// simNode is a node of a simulated cluster whose engine keeps the last update, as pglogical does.
type simNode struct {
	rows  map[int64]write
	queue [][]simChange // by origin: what is on its way from there
}

type simChange struct {
	key    int64
	write  write
	insert bool
}

// sim is a cluster of three nodes and what happens on it.
type sim struct {
	nodes   [3]simNode
	skew    [3]int64
	now     int64
	n       [3]int64
	writes  []simChange
	resolve func(local, remote write) bool // the remote one is applied
}

func newSim(resolve func(local, remote write) bool) *sim {
	s := &sim{resolve: resolve}
	for i := range s.nodes {
		s.nodes[i] = simNode{rows: map[int64]write{}, queue: make([][]simChange, 3)}
		for key := range int64(2) {
			s.nodes[i].rows[key+1] = write{id: opID{0, history.InitialWrite}}
		}
	}
	return s
}

// write lets session i+1, on node i, write a key.
func (s *sim) write(i int, key int64) {
	s.now++
	s.n[i]++
	prev := s.nodes[i].rows[key]
	v := write{id: opID{i + 1, s.n[i]}, prev: prev.id, at: 1000*(1000+s.now+s.skew[i]) + s.now} // no two are equal
	s.nodes[i].rows[key] = v
	c := simChange{key, v, prev.id == noRow}
	s.writes = append(s.writes, c)
	for j := range s.nodes {
		if j != i {
			s.nodes[j].queue[i] = append(s.nodes[j].queue[i], c)
		}
	}
}

// deliver applies on node i the next change of node from, if there is one.
func (s *sim) deliver(i, from int) bool {
	q := s.nodes[i].queue[from]
	if len(q) == 0 {
		return false
	}
	s.nodes[i].queue[from] = q[1:]
	c := q[0]
	local, found := s.nodes[i].rows[c.key]
	switch {
	case !found && c.insert, found && s.resolve(local, c.write):
		s.nodes[i].rows[c.key] = c.write
	case found && !c.insert && local.id.session == c.write.id.session:
		s.nodes[i].rows[c.key] = c.write // an update of a row of the same origin is no conflict
	}
	return true
}

func lastUpdateWins(local, remote write) bool { return remote.at >= local.at }

// run draws what happens, and lets everything arrive in the end.
func (s *sim) run(r *rand.Rand, keys []int64, skew bool) {
	for range 1 + r.IntN(100) {
		i := r.IntN(3)
		switch x := r.IntN(20); {
		case x < 9:
			s.write(i, keys[r.IntN(len(keys))])
		case x == 19 && skew:
			s.skew[i] = r.Int64N(101) - 50
		default:
			s.deliver(i, r.IntN(3))
		}
	}
	for more := true; more; {
		more = false
		for i := range s.nodes {
			for j := range s.nodes {
				more = s.deliver(i, j) || more
			}
		}
	}
}

// judge makes a round of it, in which no node is lost, and gives the findings as "kind rule".
func (s *sim) judge() []string {
	in := &input{run: rundir.Run{Workload: history.Workload{Conflict: &history.ConflictKeys{Hot: 2}}}}
	for i := range s.nodes {
		in.run.Workload.Sessions = append(in.run.Workload.Sessions, history.Session{ID: i + 1, Node: fmt.Sprint("n", i+1)})
	}
	c := newCollector(1, nil)
	var groups []*group
	for i := range s.nodes {
		groups = append(groups, &group{nodes: []string{fmt.Sprint("n", i+1)}})
	}
	w := newWalker(in, c, &RoundResult{}, groups)
	keys := map[int64]bool{1: true, 2: true}
	for _, x := range s.writes {
		keys[x.key] = true
	}
	for key := range keys {
		sides := make([]side, len(groups))
		for i, g := range groups {
			sides[i] = side{group: g, sound: true}
			if key <= 2 {
				sides[i].writes = append(sides[i].writes, write{id: opID{0, history.InitialWrite}})
			}
			for _, x := range s.writes {
				if x.key == key {
					sides[i].writes = append(sides[i].writes, x.write)
				}
			}
			slices.SortFunc(sides[i].writes, func(a, b write) int { // as the row file has them
				return cmp.Or(cmp.Compare(a.id.session, b.id.session), cmp.Compare(a.id.n, b.id.n))
			})
			if row, ok := s.nodes[i].rows[key]; ok {
				sides[i].row = &row
			}
		}
		w.judgeKey(key, key <= 2, sides)
	}
	var out []string
	for _, f := range c.findings() {
		if k := fmt.Sprintf("%s %v", f.Kind, f.Evidence["rule"]); !slices.Contains(out, k) {
			out = append(out, k)
		}
	}
	slices.Sort(out)
	return out
}

const simulations = 4000

// Whatever happens on a cluster that lets the last update win, the rule accuses it of nothing but what it explains; and
// with clocks that agree and rows that are always there, of nothing.
func TestConflictRuleAgainstAnEngine(t *testing.T) {
	hot, any := []int64{1, 2}, []int64{1, 1000, 1001, 1002, 1003, 1004, 1005}
	for name, c := range map[string]struct {
		keys []int64
		skew bool
		want []string
	}{
		"rows that are there, clocks that agree": {hot, false, nil},
		"clocks that agree":                      {any, false, []string{"diverged conflict_causality"}},
		"rows that are there":                    {hot, true, []string{"diverged conflict_clock"}},
		"anything":                               {any, true, []string{"diverged conflict_causality", "diverged conflict_clock"}},
	} {
		t.Run(name, func(t *testing.T) {
			seen := map[string]int{}
			for i := range uint64(simulations) {
				s := newSim(lastUpdateWins)
				s.run(rand.New(rand.NewPCG(i, 1)), c.keys, c.skew)
				for _, f := range s.judge() {
					seen[f]++
				}
			}
			t.Log(seen)
			if got := slices.Sorted(maps.Keys(seen)); !slices.Equal(got, c.want) {
				t.Errorf("findings %v, want %v", seen, c.want)
			}
		})
	}
}

// And it does see engines that resolve conflicts in another way.
func TestConflictRuleAgainstOtherEngines(t *testing.T) {
	for name, c := range map[string]struct {
		resolve func(local, remote write) bool
		want    []string
	}{
		"first update wins": {func(local, remote write) bool { return local.id.session != 0 && remote.at < local.at }, []string{"diverged conflict", "lost conflict"}},
		"apply remote":      {func(write, write) bool { return true }, []string{"diverged conflict"}},
		"keep local":        {func(local, _ write) bool { return local.id.session == 0 }, []string{"diverged conflict"}},
	} {
		t.Run(name, func(t *testing.T) {
			found := map[string]int{}
			for i := range uint64(simulations) {
				s := newSim(c.resolve)
				s.run(rand.New(rand.NewPCG(i, 1)), []int64{1, 2}, false)
				for _, f := range s.judge() {
					found[f]++
				}
			}
			t.Log(found)
			if got := slices.Sorted(maps.Keys(found)); !slices.Equal(got, c.want) || found["diverged conflict"] < simulations/2 {
				t.Errorf("findings %v, want %v", found, c.want)
			}
		})
	}
}
