package fault

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/spockchaos/spockchaos/checker/rundir"
)

// Each node fault takes its node out of service, proves it, brings it back and
// reports the node's life in the right order.
func TestNodeFaults(t *testing.T) {
	for _, tc := range []struct {
		name, proof string
		events      []rundir.EventKind
	}{
		{"kill", "kill by SIGKILL: all 3 processes of n2 are gone", []rundir.EventKind{rundir.EventKill, rundir.EventStart}},
		{"immediate_stop", "immediate shutdown: all 3 processes", []rundir.EventKind{rundir.EventImmediate, rundir.EventStart}},
		{"restart", "fast shutdown: all 3 processes", []rundir.EventKind{rundir.EventStop, rundir.EventStopped, rundir.EventStart}},
		{"pause", "are stopped", []rundir.EventKind{rundir.EventPause, rundir.EventResume}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFakes(t)
			a := inject(t, f.env, rundir.PlannedFault{ID: 1, Name: tc.name, Target: "n2"})
			if effect, proof := prove(t, a); !effect || !strings.Contains(proof, tc.proof) {
				t.Errorf("effect %v: %s", effect, proof)
			}
			proof, err := a.Heal(t.Context())
			if err != nil || !strings.Contains(proof, "n2 answers a query") {
				t.Errorf("heal: %q, %v", proof, err)
			}
			if got := f.kinds(); !slices.Equal(got, tc.events) {
				t.Errorf("events %v, want %v", got, tc.events)
			}
			if why := f.env.outOfService("n2"); why != "" {
				t.Errorf("after healing: %s", why)
			}
		})
	}
}

// The proof looks at the node and does not take the call's word for it.
func TestNodeFaultsThatDidNotWork(t *testing.T) {
	for _, name := range []string{"kill", "pause"} {
		f := newFakes(t)
		a := inject(t, f.env, rundir.PlannedFault{ID: 1, Name: name, Target: "n2"})
		n := f.cluster.node("n2")
		n.mu.Lock()
		n.pids, n.paused = []int{1}, false
		n.mu.Unlock()
		if effect, proof := prove(t, a); effect {
			t.Errorf("%s: effect was claimed: %s", name, proof)
		}
	}
}

func TestRestartThatHangs(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for the limit of a clean stop")
	}
	f := newFakes(t)
	f.cluster.node("n2").hangs = true
	a := inject(t, f.env, rundir.PlannedFault{ID: 1, Name: "restart", Target: "n2"})
	if effect, proof := prove(t, a); !effect || !strings.Contains(proof, "did not finish") {
		t.Errorf("effect %v: %s", effect, proof)
	}
	want := []rundir.EventKind{rundir.EventStop, rundir.EventImmediate}
	if got := f.kinds(); !slices.Equal(got, want) {
		t.Errorf("events %v, want %v", got, want)
	}
}

func TestNodeFaultOnANodeThatIsDown(t *testing.T) {
	for _, name := range []string{"kill", "immediate_stop", "restart", "pause"} {
		f := newFakes(t)
		f.cluster.node("n2").pids = nil
		fault, _ := ByName(name)
		_, err := fault.Inject(t.Context(), f.env, rundir.PlannedFault{ID: 1, Name: name, Target: "n2"})
		if !isNotApplicable(err) || !strings.Contains(err.Error(), "n2 is down") {
			t.Errorf("%s: %v", name, err)
		}
		if len(f.kinds()) != 0 {
			t.Errorf("%s: events %v for nothing", name, f.kinds())
		}
	}
}

func TestNodeThatDoesNotStartAgain(t *testing.T) {
	f := newFakes(t)
	a := inject(t, f.env, rundir.PlannedFault{ID: 1, Name: "kill", Target: "n2"})
	f.cluster.node("n2").startErr = []error{errors.New("port taken")}
	_, err := a.Heal(t.Context())
	if err == nil || !strings.Contains(err.Error(), "start n2 again: port taken") || !strings.Contains(err.Error(), "the end of the log") {
		t.Errorf("heal: %v", err)
	}
	if _, err := a.Heal(t.Context()); err != nil {
		t.Errorf("heal again: %v", err)
	}
}

// What was under another fault when its node was lost must not start it again.
func TestLoss(t *testing.T) {
	for _, under := range []string{"kill", "pause"} {
		f := newFakes(t)
		a := inject(t, f.env, rundir.PlannedFault{ID: 1, Name: under, Target: "n1"})
		l := inject(t, f.env, rundir.PlannedFault{ID: 2, Name: "loss", Target: "n1"})
		if effect, proof := prove(t, l); !effect || !strings.Contains(proof, "gone and its data removed") {
			t.Errorf("effect %v: %s", effect, proof)
		}
		if proof, err := a.Heal(t.Context()); err != nil || !strings.Contains(proof, "lost meanwhile") {
			t.Errorf("%s: heal: %q, %v", under, proof, err)
		}
		if n := f.cluster.node("n1"); n.starts != 0 || len(n.pids) != 0 {
			t.Errorf("%s: the lost node was started", under)
		}
		if k := f.kinds(); k[len(k)-1] != rundir.EventLose {
			t.Errorf("events %v", k)
		}
	}
}
