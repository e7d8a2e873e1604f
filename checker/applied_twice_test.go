package checker

import (
	"slices"
	"strings"
	"testing"

	"github.com/spockchaos/spockchaos/checker/rundir"
)

func TestAppliedTwiceIsNamed(t *testing.T) {
	for _, c := range []struct {
		name  string
		build func(*world)
		want  string // the transaction, "" for none
	}{
		{"one transaction fits", func(w *world) {
			w.session(2, "n2").ok(count(11, 4), count(12, 3)).ok(count(11, 4))
			w.edit("n3", func(t *tables) { t.row(rundir.TableCounter, 11)[1] += 4; t.row(rundir.TableCounter, 12)[1] += 3 })
		}, "session 2 n 1"},
		{"two would", func(w *world) {
			w.session(2, "n2").ok(count(11, 4)).ok(count(11, 4))
			w.edit("n3", func(t *tables) { t.row(rundir.TableCounter, 11)[1] += 4 })
		}, ""},
		{"none does", func(w *world) {
			w.session(2, "n2").ok(count(11, 4), count(12, 3)).ok(count(11, 5))
			w.edit("n3", func(t *tables) { t.row(rundir.TableCounter, 11)[1] += 4 })
		}, ""},
		{"it failed", func(w *world) {
			w.session(2, "n2").ok(count(11, 1)).fail(count(11, 4))
			w.edit("n3", func(t *tables) { t.row(rundir.TableCounter, 11)[1] += 4 })
		}, ""},
		{"of a node and shared", func(w *world) {
			w.run.Workload.SharedCounters.First, w.run.Workload.SharedCounters.Count = 201, 2
			w.session(2, "n2").ok(count(11, 4), count(201, 3)).ok(count(201, 2))
			w.edit("n3", func(t *tables) { t.insert(rundir.TableCounter, 21, 0) }) // a second row of one that is right
			w.edit("n3", func(t *tables) { t.row(rundir.TableCounter, 11)[1] += 4; t.row(rundir.TableCounter, 201)[1] += 3 })
		}, "session 2 n 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			c.build(w)
			r, err := Check(t.Context(), w.write())
			if err != nil {
				t.Fatal(err)
			}
			doubled := 0
			for _, x := range r.Rounds[0].Findings {
				for _, e := range x.Evidence["first"].([]map[string]any) {
					if e["key"] == "counter 21" && e["applied_twice"] != nil {
						t.Errorf("of a row that is there twice: %v", e)
					}
				}
			}
			for _, f := range r.Rounds[0].Findings {
				if f.Kind != Doubled {
					continue
				}
				doubled++
				first := f.Evidence["first"].([]map[string]any)[0]
				named, _ := first["applied_twice"].(string)
				if named != c.want || strings.Contains(f.Summary, "of n2 added") != (c.want != "") || (c.want != "") != (first["from"] != nil) {
					t.Errorf("%q, %v; want %q", f.Summary, first, c.want)
				}
			}
			if doubled == 0 {
				t.Errorf("nothing is doubled: %v", r.Rounds[0].Findings)
			}
		})
	}
}

func TestAppliedTwiceTellsWhoWentDown(t *testing.T) {
	for _, c := range []struct {
		name   string
		events []rundir.NodeEvent
		want   string // of "then", "" for none
	}{
		{"killed soon after", []rundir.NodeEvent{{At: at(6), Node: "n3", Kind: rundir.EventKill}}, "kill of n3 at 2026-01-02T03:04:11Z"},
		{"as it was sent", []rundir.NodeEvent{{At: at(4.9), Node: "n3", Kind: rundir.EventImmediate}}, "immediate of n3 at 2026-01-02T03:04:09.9Z"},
		{"long before, and long after", []rundir.NodeEvent{{At: at(2), Node: "n3", Kind: rundir.EventKill}, {At: at(25), Node: "n3", Kind: rundir.EventKill}}, ""},
		{"another node", []rundir.NodeEvent{{At: at(6), Node: "n2", Kind: rundir.EventKill}}, ""},
		{"it was only paused", []rundir.NodeEvent{{At: at(6), Node: "n3", Kind: rundir.EventPause}}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.events, w.faults = c.events, []rundir.Fault{{Name: "kill", Target: "n3", StartedAt: at(6), EndedAt: at(8), Effect: true}}
			w.session(2, "n2").ok(event(2), count(11, 4))
			op := &w.sessions[0].ops[0]
			op.InvokedAt, op.CompletedAt = at(5), at(5.001)
			w.edit("n3", func(t *tables) {
				t.row(rundir.TableCounter, 11)[1] += 4
				t.insert(rundir.TableEvent, 2, 1, 0)
			})
			r, err := Check(t.Context(), w.write())
			if err != nil {
				t.Fatal(err)
			}
			found := 0
			for _, f := range r.Rounds[0].Findings {
				if f.Kind == Doubled {
					found++
					got, _ := f.Evidence["first"].([]map[string]any)[0]["then"].(string)
					if killed := c.name == "killed soon after"; got != c.want || slices.Contains(f.FaultsActive, "kill n3") != killed {
						t.Errorf("%s: then %q, faults %v; want %q", f.Key, got, f.FaultsActive, c.want)
					}
				}
			}
			if found != 2 {
				t.Errorf("%d doubled", found)
			}
		})
	}
}
