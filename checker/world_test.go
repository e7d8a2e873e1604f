package checker

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/workload/history"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testSeed = 42

// at is a time in the tests' round: seconds after its start.
func at(seconds float64) time.Time {
	return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).Add(time.Duration(seconds * float64(time.Second)))
}

// world is a round that a test describes. What it does not say is as it should be:
// acknowledged writes are on every survivor, others on none, tables follow from
// that, the slots move, the rescue worked.
type world struct {
	tb       testing.TB
	run      rundir.Run
	round    rundir.Round
	sessions []*testSession
	differ   map[string]map[opID]bool // by node: not what the outcome says
	edits    map[string][]func(*tables)
	wrote    map[opID]write // of conflicts: what a write overwrote and when it was committed, if not "nothing, when it was answered"

	faults       []rundir.Fault
	events       []rundir.NodeEvent
	samples      []rundir.Sample
	observations []rundir.Observation
	rescues      []rundir.Rescue
	explanations []rundir.Explanation
	noFinals     bool
}

type testSession struct {
	id   int
	node string
	ops  []history.Op
}

// newWorld is a loss of n1 out of three.
func newWorld(tb testing.TB) *world {
	w := &world{tb: tb, differ: map[string]map[opID]bool{}, edits: map[string][]func(*tables){}, wrote: map[opID]write{}}
	w.run = rundir.Run{SchemaVersion: rundir.SchemaVersion, Seed: 1, Nodes: []string{"n1", "n2", "n3"}, Rounds: 1, StartedAt: at(0), EndedAt: at(60)}
	for i, n := range w.run.Nodes {
		w.run.Workload.Pools = append(w.run.Workload.Pools, history.Pool{Node: n, FirstCounter: int64(1 + 10*i), Counters: 2, FirstAccount: int64(101 + 10*i), Accounts: 3, InitialBalance: 1000})
	}
	w.round = rundir.Round{Number: 1, Kind: rundir.KindLoss, Seed: testSeed, Failed: "n1", Survivors: []string{"n2", "n3"}, Target: "n3", LostAt: at(30),
		Quiesced: true, QuiesceLimit: 20 * time.Second, Complete: true, StallLimit: 2 * time.Second}
	begin := 0.0
	for _, p := range []struct {
		name string
		end  float64
	}{{rundir.PhaseRestore, 1}, {rundir.PhaseBaseline, 2}, {rundir.PhaseChaos, 30}, {rundir.PhaseLoss, 31}, {rundir.PhaseRescue, 35}, {rundir.PhaseHeal, 36},
		{rundir.PhaseQuiesce, 40}, {rundir.PhaseSettle, 45}, {rundir.PhaseSnapshot, 46}} {
		w.round.Phases = append(w.round.Phases, rundir.Phase{Name: p.name, Start: at(begin), End: at(p.end)})
		begin = p.end
	}
	return w
}

// crash makes the round one in which n1 comes back.
func (w *world) crash() *world {
	w.round.Kind, w.round.Survivors, w.round.Target = rundir.KindCrash, w.run.Nodes, ""
	return w
}

func (w *world) session(id int, node string) *testSession {
	s := &testSession{id: id, node: node}
	w.sessions = append(w.sessions, s)
	return s
}

// op appends an operation; each takes 10 ms, 100 ms after the one before.
func (s *testSession) op(o history.Outcome, effects ...history.Effect) *testSession {
	n := int64(len(s.ops) + 1)
	begin := at(2 + float64(n)/10)
	s.ops = append(s.ops, history.Op{N: n, InvokedAt: begin, CompletedAt: begin.Add(10 * time.Millisecond), Outcome: o, Effects: effects})
	return s
}

func (s *testSession) ok(effects ...history.Effect) *testSession { return s.op(history.OK, effects...) }
func (s *testSession) fail(effects ...history.Effect) *testSession {
	return s.op(history.Fail, effects...)
}
func (s *testSession) unknown(effects ...history.Effect) *testSession {
	return s.op(history.Unknown, effects...)
}

// key is a register of the session.
func (s *testSession) key(i int64) int64 { return int64(s.id)<<32 | i }

// lacks says that a survivor does not have operations which it should.
func (w *world) lacks(node string, s *testSession, numbers ...int64) *world {
	return w.change(node, s, false, numbers)
}

// has says that a survivor has operations which it need not.
func (w *world) has(node string, s *testSession, numbers ...int64) *world {
	return w.change(node, s, true, numbers)
}

func (w *world) change(node string, s *testSession, is bool, numbers []int64) *world {
	if w.differ[node] == nil {
		w.differ[node] = map[opID]bool{}
	}
	for _, n := range numbers {
		w.differ[node][opID{s.id, n}] = is
	}
	return w
}

// edit changes a survivor's tables after they were computed.
func (w *world) edit(node string, f func(*tables)) *world {
	w.edits[node] = append(w.edits[node], f)
	return w
}

func (w *world) applied(node string, s *testSession, op *history.Op) bool {
	if is, ok := w.differ[node][opID{s.id, op.N}]; ok {
		return is
	}
	return op.Outcome == history.OK
}

// tables is a node's contents, computed in the plainest way there is.
type tables map[string][][]int64

// contents applies what a node has, statement by statement.
func (w *world) contents(node string) tables {
	t := tables{}
	for _, p := range w.run.Workload.Pools {
		for i := range p.Counters {
			t[rundir.TableCounter] = append(t[rundir.TableCounter], []int64{p.FirstCounter + int64(i), 0})
		}
		for i := range p.Accounts {
			t[rundir.TableAccount] = append(t[rundir.TableAccount], []int64{p.FirstAccount + int64(i), p.InitialBalance})
		}
	}
	if c := w.run.Workload.Conflict; c != nil {
		for key := range c.Hot {
			t.insert(rundir.TableConflict, key+1, 0, history.InitialWrite, 0, 0, 0, 0)
		}
	}
	for i := range w.run.Workload.SharedCounters.Count {
		t.insert(rundir.TableCounter, w.run.Workload.SharedCounters.First+int64(i), 0)
	}
	for _, s := range w.sessions {
		for i := range s.ops {
			if op := &s.ops[i]; w.applied(node, s, op) {
				t.apply(s, op)
				w.put(t, s, op)
			}
		}
	}
	for _, f := range w.edits[node] {
		f(&t)
	}
	for _, r := range t[rundir.TableVersion] {
		t.insert(rundir.TableVersionByKey, append([]int64{r[2], r[0], r[1]}, r[3:]...)...)
	}
	for table, rows := range t {
		slices.SortStableFunc(rows, func(a, b []int64) int {
			k := rundir.SortColumns(table)
			return slices.Compare(a[:k], b[:k])
		})
	}
	return t
}

// put applies an operation's writes of conflicts: the last update wins.
func (w *world) put(t tables, s *testSession, op *history.Op) {
	for _, e := range op.Effects {
		if e.Kind != history.ConflictPut {
			continue
		}
		at := op.CompletedAt.UnixMicro()
		v := w.wrote[opID{s.id, op.N}]
		if v.at != 0 {
			at = v.at
		}
		t.insert(rundir.TableVersion, int64(s.id), op.N, e.Key, e.Value, int64(v.prev.session), v.prev.n, at)
		row := []int64{e.Key, int64(s.id), op.N, e.Value, int64(v.prev.session), v.prev.n, at}
		missing := true
		t.update(rundir.TableConflict, e.Key, func(r []int64) {
			missing = false
			if r[6] <= at {
				copy(r, row)
			}
		})
		if missing {
			t.insert(rundir.TableConflict, row...)
		}
	}
}

func (t tables) apply(s *testSession, op *history.Op) {
	id := int64(s.id)
	t[rundir.TableLedger] = append(t[rundir.TableLedger], []int64{id, op.N, history.LedgerValue(testSeed, s.id, op.N)})
	for _, e := range op.Effects {
		switch e.Kind {
		case history.EventInsert:
			for seq := range e.Value {
				t[rundir.TableEvent] = append(t[rundir.TableEvent], []int64{id, op.N, seq})
			}
		case history.RegisterInsert:
			t[rundir.TableRegister] = append(t[rundir.TableRegister], []int64{e.Key, id, op.N, e.Value, history.PadSum(history.Pad(testSeed, e.Key, op.N))})
		case history.RegisterUpdate:
			t.update(rundir.TableRegister, e.Key, func(r []int64) { r[2], r[3] = op.N, e.Value })
		case history.RegisterDelete:
			t.remove(rundir.TableRegister, func(r []int64) bool { return r[0] == e.Key })
		case history.RegisterRekey:
			t.update(rundir.TableRegister, e.Key, func(r []int64) { r[0], r[2] = e.Key2, op.N })
		case history.CounterAdd:
			t.update(rundir.TableCounter, e.Key, func(r []int64) { r[1] += e.Value })
		case history.Transfer:
			t.update(rundir.TableAccount, e.Key, func(r []int64) { r[1] -= e.Value })
			t.update(rundir.TableAccount, e.Key2, func(r []int64) { r[1] += e.Value })
		case history.BulkInsert:
			t[rundir.TableBulk] = append(t[rundir.TableBulk], []int64{id, op.N, e.Value, e.Value * (e.Value - 1) / 2})
		case history.BulkDelete:
			t.remove(rundir.TableBulk, func(r []int64) bool { return r[0] == id && r[1] == e.Key })
		}
	}
}

func (t tables) update(table string, key int64, f func([]int64)) {
	for _, r := range t[table] {
		if r[0] == key {
			f(r)
			return
		}
	}
}

func (t tables) remove(table string, f func([]int64) bool) {
	t[table] = slices.DeleteFunc(t[table], f)
}

func (t tables) insert(table string, row ...int64) { t[table] = append(t[table], row) }

// sample adds good samples of a node. A zero slot position means no slot.
func (w *world) sample(s ...rundir.Sample) *world {
	w.samples = append(w.samples, s...)
	return w
}

// sampleAt is a good sample with its slot at position.
func sampleAt(node string, seconds float64, position rundir.LSN) rundir.Sample {
	return rundir.Sample{At: at(seconds), End: at(seconds + 0.01), Node: node, Epoch: at(0), InsertLSN: 1000, FlushLSN: 1000,
		Slot: &rundir.Slot{Name: "spk_recovery_chaos", Restart: position, Confirmed: position, WALStatus: "reserved", Retained: int64(1000 - position)}}
}

// observe adds an observation of the numbers of a session that a node showed.
func (w *world) observe(node string, seconds float64, durable bool, s *testSession, after int64, numbers ...int64) *world {
	o := rundir.ObservedSession{Session: s.id, After: after, Max: after}
	for _, n := range numbers {
		o.Count++
		o.Sum += n
		o.Max = max(o.Max, n)
	}
	w.observations = append(w.observations, rundir.Observation{At: at(seconds), End: at(seconds + 0.01), Node: node, Durable: durable, Sessions: []rundir.ObservedSession{o}})
	return w
}

// write makes the run directory.
func (w *world) write() string {
	w.tb.Helper()
	dir := w.tb.TempDir()
	w.writeTo(dir)
	return dir
}

func (w *world) writeTo(dir string) {
	w.tb.Helper()
	must := func(err error) {
		w.tb.Helper()
		if err != nil {
			w.tb.Fatal(err)
		}
	}
	w.run.Workload.Sessions = nil
	for _, s := range w.sessions {
		w.run.Workload.Sessions = append(w.run.Workload.Sessions, history.Session{ID: s.id, Node: s.node, Workload: "ledger"})
	}
	rd := rundir.RoundDir(dir, 1)
	must(rundir.WriteJSON(filepath.Join(dir, rundir.RunFile), w.run))
	must(rundir.WriteJSON(filepath.Join(rd, rundir.RoundFile), w.round))
	must(os.MkdirAll(filepath.Join(rd, rundir.HistoryDir), 0o755))
	for _, s := range w.sessions {
		h, err := history.Create(filepath.Join(rd, rundir.HistoryDir, strconv.Itoa(s.id)+".hist"), history.Header{Session: s.id, Node: s.node, Workload: "ledger", Seed: testSeed})
		must(err)
		for _, op := range s.ops {
			must(h.Invoke(op.N, op.InvokedAt, op.Effects))
			if !op.CompletedAt.IsZero() {
				must(h.Complete(op.N, op.CompletedAt, op.Outcome, op.SQLState))
			}
		}
		must(h.Close())
	}
	lines(w.tb, filepath.Join(rd, rundir.FaultsFile), w.faults)
	lines(w.tb, filepath.Join(rd, rundir.EventsFile), w.events)
	lines(w.tb, filepath.Join(rd, rundir.SamplesFile), w.samples)
	lines(w.tb, filepath.Join(rd, rundir.ObservationsFile), w.observations)
	lines(w.tb, filepath.Join(rd, rundir.RescuesFile), w.rescues)
	lines(w.tb, filepath.Join(rd, rundir.ExplanationsFile), w.explanations)
	if w.noFinals {
		return
	}
	for _, node := range w.round.Survivors {
		contents := w.contents(node)
		for _, table := range (&input{run: w.run}).tables() {
			out, err := rundir.CreateRows(rundir.FinalTable(rd, node, table), table)
			must(err)
			for _, row := range contents[table] {
				must(out.Write(row))
			}
			must(out.Close())
		}
	}
}

func lines[T any](tb testing.TB, path string, records []T) {
	tb.Helper()
	if len(records) == 0 {
		return
	}
	l, err := rundir.OpenLines(path)
	for _, r := range records {
		if err == nil {
			err = l.Append(r)
		}
	}
	if err == nil {
		err = l.Close()
	}
	if err != nil {
		tb.Fatal(err)
	}
}

// check judges the round.
func (w *world) check() RoundResult {
	w.tb.Helper()
	r, err := CheckRound(w.tb.Context(), w.run, w.write(), 1)
	if err != nil {
		w.tb.Fatal(err)
	}
	return r
}

// kinds lists findings as "kind node", sorted, each once.
func kinds(findings []Finding) []string {
	var out []string
	for _, f := range findings {
		k := strings.TrimSpace(string(f.Kind) + " " + f.Node)
		if !slices.Contains(out, k) {
			out = append(out, k)
		}
	}
	slices.Sort(out)
	return out
}

// ruleCase is one row of a rule's table test: a round and the findings it must give.
type ruleCase struct {
	name  string
	build func(w *world)
	want  string // "lost n2, torn n3"; "" is none
}

func runCases(t *testing.T, cases []ruleCase) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			c.build(w)
			r := w.check()
			if got := strings.Join(kinds(r.Findings), ", "); got != c.want {
				t.Errorf("findings %q, want %q", got, c.want)
			}
			for _, f := range r.Findings {
				if f.Summary == "" || f.Key == "" || f.Count < 1 || f.Round != 1 || f.Evidence["first"] == nil || f.FaultsActive == nil || strings.Contains(f.Summary, "%!") {
					t.Errorf("finding is not filled in: %+v", f)
				}
				t.Log(f.Summary)
			}
		})
	}
}

// Effects, short.
func event(rows int64) history.Effect { return history.Effect{Kind: history.EventInsert, Value: rows} }
func bulk(rows int64) history.Effect  { return history.Effect{Kind: history.BulkInsert, Value: rows} }
func bulkDelete(n int64) history.Effect {
	return history.Effect{Kind: history.BulkDelete, Key: n}
}
func insert(key, value int64) history.Effect {
	return history.Effect{Kind: history.RegisterInsert, Key: key, Value: value}
}
func update(key, value int64) history.Effect {
	return history.Effect{Kind: history.RegisterUpdate, Key: key, Value: value}
}
func del(key int64) history.Effect { return history.Effect{Kind: history.RegisterDelete, Key: key} }
func rekey(key, to int64) history.Effect {
	return history.Effect{Kind: history.RegisterRekey, Key: key, Key2: to}
}
func count(key, by int64) history.Effect {
	return history.Effect{Kind: history.CounterAdd, Key: key, Value: by}
}
func put(s *testSession, key int64) history.Effect {
	return history.Effect{Kind: history.ConflictPut, Key: key, Value: history.LedgerValue(testSeed, s.id, int64(len(s.ops)+1)) + 1}
}
func transfer(from, to, amount int64) history.Effect {
	return history.Effect{Kind: history.Transfer, Key: from, Key2: to, Value: amount}
}
