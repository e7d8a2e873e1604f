package fault

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/spockchaos/spockchaos/checker/rundir"
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

// hold puts a gate on, or fails the test.
func hold(t *testing.T, f *fakes, id int, g link.Gate, ends ...end) *share {
	t.Helper()
	s, err := f.env.Links.hold(t.Context(), id, g, ends...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func release(t *testing.T, s *share) {
	t.Helper()
	if err := s.release(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestHealingOneEffectLeavesTheOther(t *testing.T) {
	f := newFakes(t)
	l := f.cluster.links["n2>n1"]
	stalled := hold(t, f, 1, link.Gate{Stall: true}, end{"n2>n1", link.Downstream})
	slowed := hold(t, f, 2, link.Gate{Rate: 9}, both("n2>n1")...)
	if got := l.Get(link.Downstream); got != (link.Gate{Stall: true, Rate: 9}) {
		t.Errorf("both on: %+v", got)
	}
	if got := l.Get(link.Upstream); got != (link.Gate{Rate: 9}) {
		t.Errorf("up has only the rate: %+v", got)
	}
	if ids := f.env.Links.stalledBy("n2>n1", 2); len(ids) != 1 || ids[0] != 1 {
		t.Errorf("stalled by %v, want fault 1", ids)
	}
	release(t, stalled)
	release(t, stalled) // again changes nothing
	if got := l.Get(link.Downstream); got != (link.Gate{Rate: 9}) {
		t.Errorf("the stall healed: %+v", got)
	}
	release(t, slowed)
	if got := l.Get(link.Downstream); got != (link.Gate{}) {
		t.Errorf("all healed: %+v", got)
	}
}

// A gate that is set anew because another effect came or went must not arm a cut again.
func TestCutIsNotArmedTwice(t *testing.T) {
	f := newFakes(t)
	l := f.cluster.links["n2>n1"]
	down := end{"n2>n1", link.Downstream}
	hold(t, f, 1, link.Gate{CutAfter: 1000}, down)
	l.Set(link.Downstream, link.Gate{CutAfter: 600}) // as the link says after 400 bytes
	lagging := hold(t, f, 2, link.Gate{Latency: 1}, down)
	if got := l.Get(link.Downstream).CutAfter; got != 600 {
		t.Errorf("after 400 of 1000 bytes the cut is set anew at %d, want 600", got)
	}
	l.Set(link.Downstream, link.Gate{Latency: 1}) // as the link says once it has cut
	release(t, lagging)
	if got := l.Get(link.Downstream).CutAfter; got != 0 {
		t.Errorf("a cut that has acted is set anew at %d", got)
	}
}

// A change whose answer was lost may have been made or not: neither may arm a cut again.
func TestCutIsNotArmedTwiceByAChangeThatFailed(t *testing.T) {
	for _, late := range []bool{false, true} {
		f := newFakes(t)
		l := f.cluster.links["n2>n1"]
		down := end{"n2>n1", link.Downstream}
		hold(t, f, 1, link.Gate{CutAfter: 1000}, down)
		l.Set(link.Downstream, link.Gate{CutAfter: 600})
		l.breakDown(errBroken, late)
		second, err := f.env.Links.hold(t.Context(), 2, link.Gate{CutAfter: 200}, down)
		if !errors.Is(err, errBroken) || second == nil {
			t.Fatalf("hold: share %v, %v", second, err)
		}
		l.breakDown(nil, false)
		acted := l.Get(link.Downstream)
		acted.CutAfter = 0
		l.Set(link.Downstream, acted)
		release(t, second)
		if got := l.Get(link.Downstream); got != (link.Gate{}) {
			t.Errorf("late %v: after the cut has acted the gate is set to %+v", late, got)
		}
	}
}

var errBroken = errors.New("no answer")

// What fails half-way is on where it was put and, maybe, where it failed: releasing it opens all.
func TestHoldThatFailsCanBeReleased(t *testing.T) {
	for _, late := range []bool{false, true} {
		f := newFakes(t)
		good, bad := f.cluster.links["n1>n2"], f.cluster.links["n2>n1"]
		bad.breakDown(errBroken, late)
		s, err := f.env.Links.hold(t.Context(), 1, link.Gate{Stall: true}, both("n1>n2", "n2>n1")...)
		if !errors.Is(err, errBroken) || s == nil {
			t.Fatalf("share %v, %v", s, err)
		}
		if err := s.release(t.Context()); !errors.Is(err, errBroken) {
			t.Errorf("release through a broken link: %v", err)
		}
		bad.breakDown(nil, false)
		release(t, s)
		for _, d := range []link.Direction{link.Upstream, link.Downstream} {
			if good.Get(d) != (link.Gate{}) || bad.Get(d) != (link.Gate{}) {
				t.Errorf("late %v, %s: not open: %+v, %+v", late, d, good.Get(d), bad.Get(d))
			}
		}
	}
}

// A fault whose end fails stays on, and is ended when its link answers again.
func TestReleaseThatFailsIsTriedAgain(t *testing.T) {
	f := newFakes(t)
	x := f.executor()
	l := f.cluster.links["n2>n1"]
	for _, p := range []rundir.PlannedFault{
		{ID: 1, Name: "stall", Target: "n2>n1", Parameters: Params{"direction": "both"}},
		{ID: 2, Name: "lag", Target: "n2>n1", Parameters: Params{"latency_ms": 5.0, "jitter_ms": 1.0}},
		{ID: 3, Name: "slow", Target: "n2>n1", Parameters: Params{"bytes_per_second": 1e6}},
		{ID: 4, Name: "cut", Target: "n2>n1", Parameters: Params{"direction": "up", "bytes": 1e9}},
	} {
		a := inject(t, f.env, p)
		l.breakDown(errBroken, false)
		if proof, err := a.Heal(t.Context()); !errors.Is(err, errBroken) {
			t.Errorf("%s: healed through a broken link: %q, %v", p.Name, proof, err)
		}
		l.breakDown(nil, false)
		if proof, err := a.Heal(t.Context()); err != nil || !strings.Contains(proof, "is answered") {
			t.Errorf("%s: heal: %q, %v", p.Name, proof, err)
		}
		if l.Get(link.Upstream) != (link.Gate{}) || l.Get(link.Downstream) != (link.Gate{}) {
			t.Errorf("%s: not open after healing", p.Name)
		}
	}
	// The same for one that could be begun only in part.
	l.breakDown(errBroken, true)
	if err := x.Run(t.Context(), []rundir.PlannedFault{{ID: 5, Name: "partition", Target: "n1<>n2", For: time.Millisecond}}, time.Now()); err != nil {
		t.Fatal(err)
	}
	l.breakDown(nil, false)
	if err := x.HealAll(t.Context()); err != nil {
		t.Error(err)
	}
	if r := f.recorded(t, 5); !strings.Contains(r.Error, errBroken.Error()) || r.EndedAt.IsZero() {
		t.Errorf("%+v", r)
	}
	for name, l := range f.cluster.links {
		if l.Get(link.Upstream) != (link.Gate{}) || l.Get(link.Downstream) != (link.Gate{}) {
			t.Errorf("%s is not open", name)
		}
	}
}

func TestHoldNeedsItsLinks(t *testing.T) {
	f := newFakes(t)
	s, err := f.env.Links.hold(t.Context(), 1, link.Gate{Stall: true}, both("n2>n1", "n2>n9")...)
	if err == nil || s != nil {
		t.Errorf("a link that is not there: %v, %v", s, err)
	}
	if got := f.cluster.links["n2>n1"].Get(link.Upstream); got != (link.Gate{}) {
		t.Errorf("the other link was changed all the same: %+v", got)
	}
}
