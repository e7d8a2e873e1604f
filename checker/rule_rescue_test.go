package checker

import (
	"strings"
	"testing"
	"time"

	"github.com/spockchaos/spockchaos/checker/rundir"
)

func TestRescue(t *testing.T) {
	rescue := func(f func(*world, *rundir.Rescue)) func(*world) {
		return func(w *world) {
			r := rundir.Rescue{Strategy: "sql", Failed: "n1", Source: "n2", Target: "n3", Coordinator: "n3", StartedAt: at(31), EndedAt: at(34), OK: true, Limit: 10 * time.Second,
				Transactions: 5, Rows: 9, SourceAfter: 700, TargetAfter: 700, MissingBefore: 5, Again: &rundir.Again{OK: true, DigestBefore: "a", DigestAfter: "a"}}
			f(w, &r)
			w.rescues = append(w.rescues, r)
		}
	}
	runCases(t, []ruleCase{
		{"it worked", rescue(func(*world, *rundir.Rescue) {}), ""},
		{"it failed", rescue(func(_ *world, r *rundir.Rescue) { r.OK, r.Error = false, "no slot" }), "rescue_incomplete n3"},
		{"it took too long", rescue(func(_ *world, r *rundir.Rescue) { r.EndedAt = at(42) }), "rescue_incomplete n3"},
		{"the target is behind the source", rescue(func(_ *world, r *rundir.Rescue) { r.TargetAfter = 699 }), "rescue_incomplete n3"},
		{"the target was ahead", rescue(func(_ *world, r *rundir.Rescue) { r.TargetAfter = 701 }), ""},
		{"the progress is not known", rescue(func(_ *world, r *rundir.Rescue) { r.TargetAfter = 0 }), ""},
		{"rows are missing", rescue(func(_ *world, r *rundir.Rescue) { r.MissingAfter = 1 }), "rescue_incomplete n3"},
		{"it was broken off with the run", rescue(func(w *world, r *rundir.Rescue) {
			r.OK, r.Error, r.Again = false, "context canceled", nil
			w.round.Complete, w.round.Interrupted, w.noFinals = false, true, true
		}), ""},
		{"it failed before the run broke off otherwise", rescue(func(w *world, r *rundir.Rescue) {
			r.OK, r.Error, r.Again = false, "no slot", nil
			w.round.Complete, w.round.Error, w.noFinals = false, "n2 did not start", true
		}), "rescue_incomplete n3"},
		{"it was not called again", rescue(func(_ *world, r *rundir.Rescue) { r.Again = nil }), ""},
		{"again it failed", rescue(func(_ *world, r *rundir.Rescue) { r.Again.OK, r.Again.Error = false, "exists" }), "rescue_not_repeatable n3"},
		{"again it changed data", rescue(func(_ *world, r *rundir.Rescue) { r.Again.DigestAfter = "b" }), "rescue_not_repeatable n3"},
	})
}

// TestBroughtBack is about the words for what a rescue has left undone.
func TestBroughtBack(t *testing.T) {
	r := rundir.Rescue{Failed: "n1", Source: "n2", Target: "n3"}
	for _, c := range []struct {
		before, after int64
		want          string
	}{
		{979, 979, "brought back none of the 979 writes of n1 that n2 has and n3 lacked: 979 are still missing"},
		{15, 4, "brought back 11 of the 15 writes of n1 that n2 has and n3 lacked: 4 are still missing"},
		{3, 5, "brought back none of the 5 writes of n1 that n2 has and n3 lacked: 5 are still missing"},
	} {
		r.MissingBefore, r.MissingAfter = c.before, c.after
		if got := broughtBack(r); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

// TestStopPosition is about the position at which a server's own rescue should stop.
func TestStopPosition(t *testing.T) {
	for name, c := range map[string]struct {
		stop     rundir.LSN
		provider string
		seconds  float64
		want     string
	}{
		"in the source's WAL":        {3500, "n2", 32, ""},
		"in the lost node's":         {7300, "n2", 32, "the stop position of spock_rescue_sub_n3_n2, which reads the WAL of n2, was 0/1C84; 0/1C84 is a position in n1's WAL and none in n2's (at most from 0/BB8 to 0/F3C): it is exactly n2's progress for n1"},
		"of a rescue from elsewhere": {7300, "n1", 32, ""},
		"of an earlier rescue":       {7300, "n2", 30.5, ""},
		"of a later rescue":          {7300, "n2", 34.5, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.rescues = []rundir.Rescue{{Strategy: "native", Failed: "n1", Source: "n2", Target: "n3", StartedAt: at(31), EndedAt: at(34), Error: "it never ends", MissingBefore: 5, MissingAfter: 5}}
			w.sample(spread("n2", 5, 3500, remote("n1", 7300)), spread("n2", 32, 3500, remote("n1", 7300)))
			w.sample(change(spread("n3", c.seconds, 5500), func(s *rundir.Sample) {
				s.OwnRescues = []rundir.OwnRescue{{Name: "spock_rescue_sub_n3_n2", Provider: c.provider, Stop: c.stop}}
			}))
			for _, f := range w.check().Findings {
				t.Log(f.Summary)
				if f.Kind != RescueIncomplete || strings.Contains(f.Summary, "stop position") != (c.want != "") || !strings.Contains(f.Summary, c.want) {
					t.Errorf("%s: %s; want %q", f.Kind, f.Summary, c.want)
				}
			}
		})
	}
}

func TestRescueLeftovers(t *testing.T) {
	clone := func(node string, seconds float64) func(*world) {
		return func(w *world) {
			w.sample(change(sampleAt(node, seconds, 1000), func(s *rundir.Sample) { s.Clones = []string{"spk_rescue_clone_1"} }))
		}
	}
	runCases(t, []ruleCase{
		{"nothing", func(w *world) { w.sample(sampleAt("n2", 45.5, 1000)) }, ""},
		{"found by the harness", func(w *world) {
			w.round.Leftovers = []rundir.Leftover{{Node: "n2", What: "clone slot", Name: "spk_rescue_clone_1"}, {Node: "n3", What: "subscription disabled", Name: "sub_n3_n2"}}
		}, "rescue_leftovers n2, rescue_leftovers n3"},
		{"a clone slot in the last sample", clone("n2", 45.5), "rescue_leftovers n2"},
		{"in the last sample before the heal was over", clone("n2", 33), ""},
		{"gone again", func(w *world) {
			clone("n2", 38)(w)
			w.sample(sampleAt("n2", 45.5, 1000))
		}, ""},
		{"while rescues are called again", clone("n2", 42), ""},
	})
}

func TestNotConverging(t *testing.T) {
	runCases(t, []ruleCase{
		{"it converged", func(*world) {}, ""},
		{"it did not", func(w *world) { w.round.Quiesced, w.round.QuiesceNote = false, "n3 lacks 5 rows of ledger" }, "not_converging"},
		{"it did not and data differ", func(w *world) {
			w.round.Quiesced = false
			w.lacks("n3", w.session(1, "n1").ok(), 1)
		}, "lost n3, not_converging"},
		{"it was broken off", func(w *world) { w.round.Quiesced, w.round.Interrupted = false, true }, ""},
		{"it never came that far", func(w *world) { w.round.Quiesced, w.round.Complete, w.noFinals = false, false, true }, ""},
	})
}
