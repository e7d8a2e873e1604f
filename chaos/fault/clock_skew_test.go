package fault

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/topology"
)

func skewOf(ms float64) rundir.PlannedFault {
	return rundir.PlannedFault{ID: 1, Name: ClockSkew, Target: "n2", Parameters: Params{"offset_ms": ms}}
}

func TestClockSkew(t *testing.T) {
	for ms, want := range map[float64]string{90_000: "+90.0s", -90_000: "-90.0s", 60: "+60ms", -60: "-60ms"} {
		f := newFakes(t)
		n2 := f.cluster.node("n2")
		n2.offset = time.Second // it was wrong before: the proof is about the change
		a := inject(t, f.env, skewOf(ms))
		n2.mu.Lock()
		n2.offset += time.Second // the fault set it, and the node is as wrong as before besides
		n2.mu.Unlock()
		effect, proof := prove(t, a)
		if !effect || !strings.Contains(proof, "n2's clock is off by "+want) || !strings.Contains(proof, "by the timestamp of a commit: "+want) {
			t.Errorf("%g ms: effect %v: %s", ms, effect, proof)
		}
		n2.mu.Lock()
		n2.stuck, n2.offset = true, time.Second // as it was
		n2.mu.Unlock()
		if proof, err := a.Heal(t.Context()); err != nil || !strings.Contains(proof, "n2's clock is off by +0.") && !strings.Contains(proof, "n2's clock is off by -0.") {
			t.Errorf("%g ms: heal: %q, %v", ms, proof, err)
		}
	}
}

// The proof looks at the clock and does not take the call's word for it; nor does the end.
func TestClockThatStays(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for a clock that does not change")
	}
	f := newFakes(t)
	n2 := f.cluster.node("n2")
	n2.stuck = true
	a := inject(t, f.env, skewOf(1000))
	if effect, proof := prove(t, a); effect || !strings.Contains(proof, "asked for +1.0s") {
		t.Errorf("effect %v: %s", effect, proof)
	}
	n2.mu.Lock()
	n2.offset = time.Second
	n2.mu.Unlock()
	if proof, err := a.Heal(t.Context()); err == nil || !strings.HasPrefix(err.Error(), "n2's clock is still off by +1.0s") {
		t.Errorf("heal: %q, %v", proof, err)
	}
	n2.mu.Lock()
	n2.offset = 0
	n2.mu.Unlock()
	if _, err := a.Heal(t.Context()); err != nil {
		t.Errorf("heal again: %v", err)
	}
}

// A node that is down gets its offset all the same, and what it has to show later counts.
func TestClockOfANodeThatIsDown(t *testing.T) {
	f := newFakes(t)
	n2 := f.cluster.node("n2")
	n2.pids = nil
	a := inject(t, f.env, skewOf(-5000))
	if n2.offset != -5*time.Second {
		t.Errorf("its offset is %s", n2.offset)
	}
	if effect, proof := prove(t, a); effect || !strings.Contains(proof, "n2 is down") {
		t.Errorf("effect %v: %s", effect, proof)
	}
	if err := n2.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if effect, proof := prove(t, a); !effect || !strings.Contains(proof, "-5.0s") {
		t.Errorf("effect %v: %s", effect, proof)
	}
	if err := n2.Stop(t.Context(), topology.StopKill); err != nil {
		t.Fatal(err)
	}
	if proof, err := a.Heal(t.Context()); err != nil || !strings.Contains(proof, "n2 is down") || n2.offset != 0 {
		t.Errorf("heal: %q, %v, offset %s", proof, err, n2.offset)
	}
}

// bare is a node without any means but those of every node.
type bare struct{ topology.Node }

type bareCluster struct{ *fakeCluster }

func (c bareCluster) Node(name string) topology.Node { return bare{c.fakeCluster.Node(name)} }

func TestClockWithoutMeans(t *testing.T) {
	f := newFakes(t)
	f.env.Cluster = bareCluster{f.cluster}
	fault, _ := ByName(ClockSkew)
	if _, err := fault.Inject(t.Context(), f.env, skewOf(100)); !isNotApplicable(err) || !strings.Contains(err.Error(), "without the means") {
		t.Errorf("a node that has no such clock: %v", err)
	}
	lost := newFakes(t)
	lost.env.lost.add("n2")
	if _, err := fault.Inject(t.Context(), lost.env, skewOf(100)); !isNotApplicable(err) || !strings.Contains(err.Error(), "n2 is lost") {
		t.Errorf("a lost node: %v", err)
	}
}

// Offsets are of both signs and of every size from the least to the most.
func TestClockSkewOffsets(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	sizes := map[int]int{} // by sign and power of ten
	for range 2000 {
		_, p := newClockSkew().Draw(r, World{Nodes: []string{"n1", "n2", "n3"}})
		by, err := offset(p)
		if err != nil || by.Abs() < leastSkew || by.Abs() > mostSkew {
			t.Fatalf("%v: %s, %v", p, by, err)
		}
		power := int(math.Log10(float64(by.Abs().Milliseconds())))
		if by < 0 {
			power = -power
		}
		sizes[power]++
	}
	for _, power := range []int{-5, -4, -3, -2, -1, 1, 2, 3, 4, 5} {
		if sizes[power] < 50 {
			t.Errorf("%d of 2000 offsets have the size %d", sizes[power], power)
		}
	}
	for _, bad := range []any{0.0, 3600_001.0, -3600_001.0, math.NaN(), "90", nil} {
		if by, err := offset(Params{"offset_ms": bad}); err == nil {
			t.Errorf("%v was read as %s", bad, by)
		}
	}
}

// Two clocks' faults, and one beside any other, go together; an executor does not take a node's clock for its service.
func TestClockSkewBesideAKill(t *testing.T) {
	f := newFakes(t)
	x := f.executor()
	kill := rundir.PlannedFault{ID: 2, Name: "kill", Target: "n2", For: 100 * time.Millisecond}
	if err := x.Run(t.Context(), []rundir.PlannedFault{skewOf(700), kill}, time.Now()); err != nil {
		t.Fatal(err)
	}
	if r := f.recorded(t, 2); !r.Effect || r.Error != "" {
		t.Errorf("the kill: %+v", r)
	}
	if err := x.HealAll(t.Context()); err != nil {
		t.Error(err)
	}
	if r := f.recorded(t, 1); !r.Effect || r.Error != "" || r.EndedAt.IsZero() {
		t.Errorf("the clock: %+v", r)
	}
}
