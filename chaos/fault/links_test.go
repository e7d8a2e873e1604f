package fault

import (
	"testing"
	"time"

	"github.com/spockchaos/spockchaos/topology/link"
)

func TestCompose(t *testing.T) {
	const ms = time.Millisecond
	for _, tc := range []struct {
		name  string
		gates []link.Gate
		want  link.Gate
	}{
		{"nothing", nil, link.Gate{}},
		{"one", []link.Gate{{Rate: 5}}, link.Gate{Rate: 5}},
		{"a stall wins", []link.Gate{{Rate: 5}, {Stall: true}}, link.Gate{Stall: true, Rate: 5}},
		{"the largest latency", []link.Gate{{Latency: 5 * ms, Jitter: 3 * ms}, {Latency: 9 * ms, Jitter: ms}}, link.Gate{Latency: 9 * ms, Jitter: 3 * ms}},
		{"the lowest rate", []link.Gate{{Rate: 7}, {Latency: ms}, {Rate: 5}}, link.Gate{Latency: ms, Rate: 5}},
		{"the nearest cut", []link.Gate{{CutAfter: 7}, {}, {CutAfter: 9}}, link.Gate{CutAfter: 7}},
	} {
		if got := compose(tc.gates); got != tc.want {
			t.Errorf("%s: %+v, want %+v", tc.name, got, tc.want)
		}
	}
}

func TestHealingOneEffectLeavesTheOther(t *testing.T) {
	f := newFakes(t)
	l := f.cluster.links["n2>n1"]
	stalled, err := f.env.Links.hold(1, link.Gate{Stall: true}, end{"n2>n1", link.Downstream})
	if err != nil {
		t.Fatal(err)
	}
	slowed, err := f.env.Links.hold(2, link.Gate{Rate: 9}, both("n2>n1")...)
	if err != nil {
		t.Fatal(err)
	}
	if got := l.Get(link.Downstream); got != (link.Gate{Stall: true, Rate: 9}) {
		t.Errorf("both on: %+v", got)
	}
	if got := l.Get(link.Upstream); got != (link.Gate{Rate: 9}) {
		t.Errorf("up has only the rate: %+v", got)
	}
	if ids := f.env.Links.stalledBy("n2>n1", 2); len(ids) != 1 || ids[0] != 1 {
		t.Errorf("stalled by %v, want fault 1", ids)
	}
	stalled()
	stalled() // again changes nothing
	if got := l.Get(link.Downstream); got != (link.Gate{Rate: 9}) {
		t.Errorf("the stall healed: %+v", got)
	}
	slowed()
	if got := l.Get(link.Downstream); got != (link.Gate{}) {
		t.Errorf("all healed: %+v", got)
	}
}

// A gate that is set anew because another effect came or went must not arm a cut again.
func TestCutIsNotArmedTwice(t *testing.T) {
	f := newFakes(t)
	l := f.cluster.links["n2>n1"]
	down := end{"n2>n1", link.Downstream}
	hold := func(id int, g link.Gate) func() {
		t.Helper()
		release, err := f.env.Links.hold(id, g, down)
		if err != nil {
			t.Fatal(err)
		}
		return release
	}
	hold(1, link.Gate{CutAfter: 1000})
	l.Set(link.Downstream, link.Gate{CutAfter: 600}) // as the link says after 400 bytes
	release := hold(2, link.Gate{Latency: 1})
	if got := l.Get(link.Downstream).CutAfter; got != 600 {
		t.Errorf("after 400 of 1000 bytes the cut is set anew at %d, want 600", got)
	}
	l.Set(link.Downstream, link.Gate{Latency: 1}) // as the link says once it has cut
	release()
	if got := l.Get(link.Downstream).CutAfter; got != 0 {
		t.Errorf("a cut that has acted is set anew at %d", got)
	}
}

func TestHoldNeedsItsLinks(t *testing.T) {
	f := newFakes(t)
	if _, err := f.env.Links.hold(1, link.Gate{Stall: true}, both("n2>n1", "n2>n9")...); err == nil {
		t.Error("no error for a link that is not there")
	}
	if got := f.cluster.links["n2>n1"].Get(link.Upstream); got != (link.Gate{}) {
		t.Errorf("the other link was changed all the same: %+v", got)
	}
}
