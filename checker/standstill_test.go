package checker

import (
	"slices"
	"strings"
	"testing"

	"github.com/spockchaos/spockchaos/checker/rundir"
)

func TestStandstill(t *testing.T) {
	blindAll := func(from, to float64) func(*world) {
		return func(w *world) {
			for _, n := range w.run.Nodes {
				w.blind(n, from, to)
			}
		}
	}
	for _, c := range []struct {
		name    string
		build   func(*world)
		verdict Verdict
		want    string // all of it; "" for nothing
	}{
		{"never", func(*world) {}, Pass, ""},
		{"one node was not seen", func(w *world) { w.blind("n3", 31, 60) }, Pass, ""},
		{"for a moment", blindAll(33, 36.4), Pass, ""},
		{"after chaos", blindAll(31, 39), Pass, "for 9s from 03:04:35 on (phase loss)"},
		{"at the end", blindAll(36, 60), Pass, "for 10.5s from 03:04:40 on (phase heal)"},
		{"at the beginning, before chaos", blindAll(-9, 4), Pass, ""},
		{"during chaos too", blindAll(10, 17), Inconclusive, "on (phase chaos)"},
		{"a node that answers nothing was looked at", func(w *world) {
			blindAll(31, 39)(w)
			for i := range 8 {
				w.sample(rundir.Sample{Node: "n3", At: at(31.5 + float64(i)), End: at(31.6 + float64(i)), Error: "timeout"})
			}
		}, Pass, ""},
		{"while a look was on its way", func(w *world) {
			blindAll(31, 39)(w)
			w.sample(rundir.Sample{Node: "n3", At: at(31), End: at(39.4), Error: "timeout"})
		}, Pass, "for 8.9s"},
		{"in a round that was broken off", func(w *world) {
			blindAll(31, 39)(w)
			w.round.Complete, w.round.Interrupted = false, true
			i := slices.IndexFunc(w.round.Phases, func(p rundir.Phase) bool { return p.Name == rundir.PhaseSnapshot })
			w.round.Phases = w.round.Phases[:i]
		}, Inconclusive, "(phase loss)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := convincing(t)
			c.build(w)
			r, err := Check(t.Context(), w.write())
			if err != nil {
				t.Fatal(err)
			}
			notes := r.Rounds[0].Notes
			if r.Verdict != c.verdict || len(notes) > 1 || (c.want == "") != (len(notes) == 0) || !strings.Contains(strings.Join(notes, "; "), c.want) {
				t.Errorf("%s, notes %q; want %s, %q", r.Verdict, notes, c.verdict, c.want)
			}
		})
	}
}
