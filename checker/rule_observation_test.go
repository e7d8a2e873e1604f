package checker

import (
	"strings"
	"testing"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/workload/history"
)

func TestObservations(t *testing.T) {
	runCases(t, []ruleCase{
		{"a prefix", func(w *world) { w.observe("n3", 5, true, w.session(1, "n1").ok().ok().ok(), 0, 1, 2) }, ""},
		{"nothing", func(w *world) { w.observe("n3", 5, true, w.session(1, "n1").ok(), 0) }, ""},
		{"a gap", func(w *world) { w.observe("n3", 5, false, w.session(1, "n1").ok().ok().ok(), 0, 1, 3) }, "out_of_order n3"},
		{"a gap on the node that was lost later", func(w *world) { w.observe("n1", 5, true, w.session(1, "n1").ok().ok().ok(), 0, 1, 3) }, "out_of_order n1"},
		{"a gap that failed", func(w *world) { w.observe("n3", 5, true, w.session(1, "n1").ok().fail().ok(), 0, 1, 3) }, ""},
		{"a gap before where the observer had looked", func(w *world) { w.observe("n3", 5, true, w.session(1, "n1").ok().ok().ok(), 2, 3) }, ""},
		{"an unknown write that is there at the end was not visible", func(w *world) {
			s := w.session(1, "n1").ok().unknown().ok()
			w.has("n2", s, 2).has("n3", s, 2).observe("n3", 5, true, s, 0, 1, 3)
		}, "out_of_order n3"},
		{"it was visible", func(w *world) {
			s := w.session(1, "n1").ok().unknown().ok()
			w.has("n2", s, 2).has("n3", s, 2).observe("n3", 5, true, s, 0, 1, 2, 3)
		}, ""},
		{"an unknown write that is nowhere at the end was visible on the lost node", func(w *world) {
			w.observe("n1", 5, true, w.session(1, "n1").ok().unknown(), 0, 1, 2)
		}, ""},
		{"a failed write was visible", func(w *world) { w.observe("n3", 5, true, w.session(1, "n1").ok().fail(), 0, 1, 2) }, "phantom n3"},
		{"and not the last", func(w *world) { w.observe("n3", 5, true, w.session(1, "n1").ok().fail().ok(), 0, 1, 2, 3) }, "phantom n3"},
		{"a failed write instead of a good one", func(w *world) {
			w.observe("n3", 5, true, w.session(1, "n1").ok().fail().ok(), 0, 2, 3)
		}, "out_of_order n3"},
		{"a write past the end", func(w *world) { w.observe("n3", 5, true, w.session(1, "n1").ok(), 0, 1, 2) }, "phantom n3"},
		{"a write before it was sent", func(w *world) { w.observe("n3", 2.15, true, w.session(1, "n1").ok().ok(), 0, 1, 2) }, "phantom n3"},
		{"a write after it was sent and before it was answered", func(w *world) {
			s := w.session(1, "n1").ok().ok()
			s.ops[1].CompletedAt = at(9)
			w.observe("n1", 5, true, s, 0, 1, 2)
		}, ""},
		{"writes of a session that never was", func(w *world) { w.observe("n3", 5, true, &testSession{id: 9}, 0, 1) }, "phantom n3"},
		{"many unknown writes, two visible", func(w *world) {
			s := w.session(1, "n1").unknown().unknown().unknown().unknown().ok()
			w.observe("n1", 5, true, s, 0, 2, 3, 5)
		}, ""},
		{"rows that no choice of unknown writes explains", func(w *world) {
			s := w.session(1, "n1").unknown().unknown().ok().ok()
			w.observations = append(w.observations, rundir.Observation{At: at(5), End: at(6), Node: "n1", Sessions: []rundir.ObservedSession{{Session: s.id, Max: 4, Count: 3, Sum: 4}}})
		}, "out_of_order n1"},
		{"a failed observation says nothing", func(w *world) {
			s := w.session(1, "n1").ok().ok()
			w.observe("n3", 5, true, s, 0, 2)
			w.observations[0].Error = "no connection"
		}, ""},
		{"what is seen of a round without an end is judged", func(w *world) {
			s := w.session(1, "n1").ok().unknown().ok().ok()
			w.round.Complete, w.noFinals = false, true
			w.observe("n3", 5, true, s, 0, 1, 3).observe("n3", 6, true, s, 0, 1, 2, 4)
		}, "out_of_order n3"},
		{"an outcome that was never recorded is unknown", func(w *world) {
			s := w.session(1, "n1").ok().ok()
			s.ops[1] = history.Op{N: 2, InvokedAt: s.ops[1].InvokedAt}
			w.observe("n1", 5, true, s, 0, 1, 2)
		}, ""},
	})
}

func TestBankTotals(t *testing.T) {
	bank := func(node string, total int64, accounts int) func(*world) {
		return func(w *world) {
			w.session(1, "n1").ok(transfer(101, 102, 5))
			w.observations = append(w.observations, rundir.Observation{At: at(5), End: at(6), Node: "n3", Banks: []rundir.ObservedBank{{Node: node, Total: total, Accounts: accounts}}})
		}
	}
	runCases(t, []ruleCase{
		{"whole", bank("n1", 3000, 3), ""},
		{"half a transfer", bank("n1", 2995, 3), "torn n3"},
		{"an account is missing", bank("n1", 2000, 2), "torn n3"},
		{"a bank that the run does not describe", bank("n7", 1, 1), ""},
	})
}

func TestAGapIsJoinedWithWhatWasGivenUp(t *testing.T) {
	w := newWorld(t)
	s := w.session(1, "n2").ok().ok().ok().ok()
	w.observe("n1", 5, true, s, 0, 1, 4)
	for _, e := range []struct {
		node    string
		session int
		n       int64
	}{{"n1", 1, 2}, {"n1", 2, 3}, {"n2", 1, 3}, {"n1", 1, 5}} {
		w.explanations = append(w.explanations, rundir.Explanation{Node: e.node, Session: e.session, N: e.n, Source: "spock.exception_log", Entry: "discarded"})
	}
	r, err := Check(t.Context(), w.write())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range r.Rounds[0].Findings {
		if f.Kind == OutOfOrder {
			first := f.Evidence["first"].([]map[string]any)[0]
			if !strings.Contains(f.Summary, "2 of (0, 4] are missing; spock.exception_log there names 1 in (0, 4]") || first["given_up"] != 1 || first["entry"] != "discarded" {
				t.Errorf("%q, %v", f.Summary, first)
			}
			return
		}
	}
	t.Errorf("findings %v", r.Rounds[0].Findings)
}
