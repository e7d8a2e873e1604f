package checker

import (
	"slices"
	"strings"
	"testing"

	"github.com/spockchaos/spockchaos/checker/rundir"
)

func TestLost(t *testing.T) {
	runCases(t, []ruleCase{
		{"everything is everywhere", func(w *world) { w.session(1, "n1").ok().ok(); w.session(2, "n2").ok() }, ""},
		{"one survivor lacks what another has", func(w *world) { w.lacks("n3", w.session(1, "n1").ok().ok(), 2) }, "lost n3"},
		{"in the middle", func(w *world) { w.lacks("n3", w.session(1, "n1").ok().ok().ok(), 2) }, "lost n3"},
		{"no survivor has the last writes to the lost node", func(w *world) {
			s := w.session(1, "n1").ok().ok().ok()
			w.lacks("n2", s, 2, 3).lacks("n3", s, 2, 3)
		}, ""},
		{"no survivor has a write to a node that was not lost", func(w *world) {
			s := w.session(1, "n2").ok().ok()
			w.lacks("n2", s, 2).lacks("n3", s, 2)
		}, "lost n2, lost n3"},
		{"a crash excuses nothing", func(w *world) {
			s := w.crash().session(1, "n1").ok().ok()
			w.lacks("n1", s, 2).lacks("n2", s, 2).lacks("n3", s, 2)
		}, "lost n1, lost n2, lost n3"},
		{"after a crash the node itself lacks one", func(w *world) { w.lacks("n1", w.crash().session(1, "n1").ok(), 1) }, "lost n1"},
		{"the engine says why", func(w *world) {
			w.lacks("n3", w.session(1, "n1").ok().ok(), 1, 2)
			w.explanations = []rundir.Explanation{{Node: "n3", Session: 1, N: 1, Source: "spock.exception_log", Entry: "discarded"}}
		}, "explained_loss n3, lost n3"},
		{"the engine explains another write", func(w *world) {
			w.lacks("n3", w.session(1, "n1").ok().ok(), 2)
			w.explanations = []rundir.Explanation{{Node: "n3", Session: 1, N: 1, Source: "spock.exception_log"}}
		}, "lost n3"},
		{"another node's engine says why", func(w *world) {
			w.lacks("n3", w.session(1, "n1").ok().ok(), 1)
			w.explanations = []rundir.Explanation{{Node: "n2", Session: 1, N: 1, Source: "spock.exception_log"}}
		}, "lost n3"},
		{"unknown and failed writes are nowhere", func(w *world) { w.session(1, "n1").unknown().fail().ok(); w.session(2, "n2").unknown() }, ""},
		{"the end of a round that was broken off in motion is not judged", func(w *world) {
			w.lacks("n3", w.session(1, "n1").ok(), 1)
			w.round.Interrupted, w.round.Quiesced = true, false
		}, ""},
		{"that of one that had come to rest is", func(w *world) {
			w.lacks("n3", w.session(1, "n1").ok(), 1)
			w.round.Interrupted = true
		}, "lost n3"},
	})
}

func TestLostIsFoldedAndCounted(t *testing.T) {
	w := newWorld(t)
	s := w.session(1, "n1")
	for range 50 {
		s.ok()
	}
	for n := range int64(30) {
		w.lacks("n3", s, 10+n)
	}
	w.faults = []rundir.Fault{
		{Name: "lag", Target: "n1>n3", StartedAt: at(2), EndedAt: at(29), Effect: true},
		{Name: "pause", Target: "n2", StartedAt: at(20), EndedAt: at(29), Effect: true},
		{Name: "kill", Target: "n2", StartedAt: at(2), EndedAt: at(29), Error: "no such process"},
	}
	r := w.check()
	if len(r.Findings) != 1 || r.Findings[0].Count != 30 || r.Findings[0].Key != "session 1 n 10" {
		t.Fatalf("%+v", r.Findings)
	}
	f := r.Findings[0]
	if len(f.Evidence["first"].([]map[string]any)) != maxExamples || !strings.Contains(f.Summary, "30 alike") {
		t.Errorf("%+v", f)
	}
	if !slices.Equal(f.FaultsActive, []string{"lag n1>n3"}) {
		t.Errorf("faults %v", f.FaultsActive)
	}
	if r.Verdict != FailVerdict || len(r.Reasons) == 0 {
		t.Errorf("verdict %v, %v", r.Verdict, r.Reasons)
	}
}

func TestRPOIsCountedWithItsAge(t *testing.T) {
	w := newWorld(t)
	s := w.session(1, "n1").ok().ok().unknown().ok().ok()
	u := w.session(2, "n1").ok().ok()
	w.lacks("n2", s, 4, 5).lacks("n3", s, 4, 5).lacks("n2", u, 2).lacks("n3", u, 2)
	r := w.check()
	if len(r.Findings) != 0 || r.RPO.Writes != 3 {
		t.Fatalf("%+v, %+v", r.RPO, r.Findings)
	}
	// The oldest is write 2 of session 2: done at 2.2 s + 10 ms, the node lost at 30 s.
	if got := r.RPO.OldestSeconds; got < 27.78 || got > 27.80 {
		t.Errorf("oldest %v s", got)
	}
	if r.Operations.OK != 6 || r.Operations.Unknown != 1 || r.Operations.ByWorkload["ledger"].OK != 6 {
		t.Errorf("operations %+v", r.Operations)
	}
}
