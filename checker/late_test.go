package checker

import (
	"strings"
	"testing"

	"github.com/spockchaos/spockchaos/checker/rundir"
)

// Writes that had not come when the wait for the survivors was over are not lost; the wait was from 36 to 40.
func TestLate(t *testing.T) {
	sees := func(w *world, from, to rundir.LSN, numbers ...int64) *testSession { // what n3 has of n2 in the first and in the last second, and what it lacks
		w.round.Quiesced = false
		w.sample(sampleAt("n2", 0.5, 900))
		for _, x := range []struct {
			at  float64
			lsn rundir.LSN
		}{{36.5, from}, {39.5, to}} {
			s := sampleAt("n3", x.at, 900)
			s.Origins = []rundir.Origin{{Node: "n2", Remote: x.lsn, Local: 800}}
			w.sample(s)
		}
		s := w.session(1, "n2").ok().ok().ok().ok()
		w.lacks("n3", s, numbers...)
		return s
	}
	runCases(t, []ruleCase{
		{"the end of a session", func(w *world) { sees(w, 500, 600, 3, 4) }, "not_converging"},
		{"all of it", func(w *world) { sees(w, 500, 600, 1, 2, 3, 4) }, "not_converging"},
		{"a later write is there", func(w *world) { sees(w, 500, 600, 2) }, "lost n3, not_converging"},
		{"and its end", func(w *world) { sees(w, 500, 600, 2, 4) }, "lost n3, not_converging"},
		{"nothing moved any more", func(w *world) { sees(w, 600, 600, 3, 4) }, "lost n3, not_converging"},
		{"the node had come by it", func(w *world) { sees(w, 500, 1100, 3, 4) }, "lost n3, not_converging"},
		{"the survivors agreed", func(w *world) { sees(w, 500, 600, 3, 4); w.round.Quiesced = true }, "lost n3"},
		{"the writer has it no more", func(w *world) { w.lacks("n2", sees(w, 500, 600, 4), 4) }, "lost n2, lost n3, not_converging"},
		{"written to the lost node", func(w *world) {
			sees(w, 500, 600)
			s := w.session(2, "n1").ok().ok()
			w.lacks("n3", s, 2)
		}, "lost n3, not_converging"},
		{"given up", func(w *world) {
			s := sees(w, 500, 600, 2, 3, 4)
			w.explanations = append(w.explanations, rundir.Explanation{Node: "n3", Session: s.id, N: 2, Source: "spock.exception_log"})
		}, "explained_loss n3, not_converging"},
	})
	w := newWorld(t)
	sees(w, 500, 600, 3, 4)
	r, err := Check(t.Context(), w.write())
	if err != nil {
		t.Fatal(err)
	}
	if f := r.Rounds[0].Findings[0]; !strings.HasSuffix(f.Summary, "; 2 acknowledged writes of n2, from session 1 n 3 on, had not come to n3 yet, which had come to 0/258 in its WAL and went on") {
		t.Errorf("%q", f.Summary)
	}
}
