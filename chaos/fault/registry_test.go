package fault

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/spockchaos/spockchaos/checker/rundir"
)

// Whatever is drawn fits the cluster, touches something in it, and survives being
// written to a file and read again.
func TestDrawFits(t *testing.T) {
	for _, f := range All() {
		t.Run(f.Name(), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				var w World
				for i := range rapid.IntRange(2, 9).Draw(t, "nodes") {
					w.Nodes = append(w.Nodes, fmt.Sprintf("n%d", i+1))
				}
				seed := rapid.Uint64().Draw(t, "seed")
				target, params := f.Draw(rand.New(rand.NewPCG(seed, 1)), w)
				again, paramsAgain := f.Draw(rand.New(rand.NewPCG(seed, 1)), w)
				if target != again || !reflect.DeepEqual(params, paramsAgain) {
					t.Fatalf("two draws: %s %v and %s %v", target, params, again, paramsAgain)
				}
				reach, err := f.Touches(w, target, params)
				if err != nil {
					t.Fatal(err)
				}
				if len(reach.Links)+len(reach.Nodes) == 0 {
					t.Fatalf("%s touches nothing", target)
				}
				for _, l := range reach.Links {
					if err := checkLink(w, l); err != nil {
						t.Fatal(err)
					}
				}
				for _, n := range slices.Concat(reach.Nodes, reach.Needs) {
					if !slices.Contains(w.Nodes, n) {
						t.Fatalf("reaches %s", n)
					}
				}
				data, err := json.Marshal(params)
				if err != nil {
					t.Fatal(err)
				}
				var back Params
				if err := json.Unmarshal(data, &back); err != nil || !reflect.DeepEqual(back, params) {
					t.Fatalf("parameters %v are read back as %v (%v)", params, back, err)
				}
			})
		})
	}
}

func TestRegistry(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range All() {
		if seen[f.Name()] || strings.Trim(f.Name(), "abcdefghijklmnopqrstuvwxyz_") != "" {
			t.Errorf("name %q", f.Name())
		}
		seen[f.Name()] = true
		if d := f.Describe(); d == "" || strings.Contains(d, "\n") {
			t.Errorf("%s is described as %q", f.Name(), d)
		}
		if got, ok := ByName(f.Name()); !ok || got.Name() != f.Name() {
			t.Errorf("ByName(%q) finds %v", f.Name(), got)
		}
		if s := f.Span(); f.Class() != ForGood && (s.Min <= 0 || s.Max < s.Min) {
			t.Errorf("%s: span %v", f.Name(), s)
		}
		if slices.Contains(Drawable(), f.Name()) == (f.Class() == ForGood) {
			t.Errorf("%s is in Drawable or not, wrongly", f.Name())
		}
	}
	if slices.Contains(Meant([]string{"ledger", "bank"}), ClockSkew) || !slices.Contains(Meant([]string{"ledger", "conflicts"}), ClockSkew) {
		t.Errorf("all means %v, with conflicts %v", Meant(nil), Meant([]string{"conflicts"}))
	}
	if _, ok := ByName("flood"); ok {
		t.Error("there is a flood")
	}
}

func TestValidate(t *testing.T) {
	w := World{Nodes: []string{"n1", "n2", "n3"}}
	ok := rundir.PlannedFault{ID: 1, Name: "lag", Target: "n2>n1", Parameters: Params{"latency_ms": 20.0, "jitter_ms": 5.0}}
	if err := Validate(w, []rundir.PlannedFault{ok}); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*rundir.PlannedFault){
		"unknown fault":       func(p *rundir.PlannedFault) { p.Name = "flood" },
		"target not a link":   func(p *rundir.PlannedFault) { p.Target = "n1" },
		"node not there":      func(p *rundir.PlannedFault) { p.Target = "n2>n7" },
		"parameter missing":   func(p *rundir.PlannedFault) { p.Parameters = Params{"latency_ms": 20.0} },
		"parameter negative":  func(p *rundir.PlannedFault) { p.Parameters = Params{"latency_ms": -20.0, "jitter_ms": 5.0} },
		"parameter not a num": func(p *rundir.PlannedFault) { p.Parameters = Params{"latency_ms": "20", "jitter_ms": 5.0} },
		"jitter above":        func(p *rundir.PlannedFault) { p.Parameters = Params{"latency_ms": 20.0, "jitter_ms": 25.0} },
		"negative time":       func(p *rundir.PlannedFault) { p.At = -1 },
		"offset of nothing": func(p *rundir.PlannedFault) {
			p.Name, p.Target, p.Parameters = ClockSkew, "n1", Params{"offset_ms": 0.0}
		},
		"bad direction": func(p *rundir.PlannedFault) {
			p.Name, p.Parameters = "stall", Params{"direction": "sideways"}
		},
		"cut both ways": func(p *rundir.PlannedFault) {
			p.Name, p.Parameters = "cut", Params{"direction": "both", "bytes": 10.0}
		},
	} {
		bad := ok
		change(&bad)
		if err := Validate(w, []rundir.PlannedFault{bad}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if err := Validate(w, []rundir.PlannedFault{ok, ok}); err == nil {
		t.Error("the same id twice: no error")
	}
}
