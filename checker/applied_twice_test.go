package checker

import (
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
