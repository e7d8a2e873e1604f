package fault

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/topology"
	"github.com/spockchaos/spockchaos/topology/link"
	"github.com/spockchaos/spockchaos/topology/wait"
)

func inject(t *testing.T, env Env, p rundir.PlannedFault) Active {
	t.Helper()
	f, ok := ByName(p.Name)
	if !ok {
		t.Fatalf("no fault %s", p.Name)
	}
	a, err := f.Inject(t.Context(), env, p)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func prove(t *testing.T, a Active) (bool, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), proveLimit)
	defer cancel()
	effect, proof, err := a.Prove(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return effect, proof
}

// Each stalling fault holds the directions that its name says, proves it, and opens them again.
func TestStallingFaults(t *testing.T) {
	type dirs map[string]string
	for _, tc := range []struct {
		plan rundir.PlannedFault
		want dirs
	}{
		{rundir.PlannedFault{ID: 1, Name: "partition", Target: "n1<>n3"}, dirs{"n1>n3": "both", "n3>n1": "both"}},
		{rundir.PlannedFault{ID: 2, Name: "partition_one_way", Target: "n2>n1"}, dirs{"n2>n1": "down", "n1>n2": "up"}},
		{rundir.PlannedFault{ID: 3, Name: "isolate", Target: "n2", Parameters: Params{"clients": true}},
			dirs{"n1>n2": "both", "n2>n1": "both", "n2>n3": "both", "n3>n2": "both", "client>n2": "both"}},
		{rundir.PlannedFault{ID: 4, Name: "stall", Target: "client>n1", Parameters: Params{"direction": "up"}}, dirs{"client>n1": "up"}},
	} {
		t.Run(tc.plan.Name, func(t *testing.T) {
			f := newFakes(t)
			a := inject(t, f.env, tc.plan)
			for name, l := range f.cluster.links {
				up := tc.want[name] == "up" || tc.want[name] == "both"
				down := tc.want[name] == "down" || tc.want[name] == "both"
				if l.Get(link.Upstream).Stall != up || l.Get(link.Downstream).Stall != down {
					t.Errorf("%s is stalled up %v down %v, want %q", name, l.Get(link.Upstream).Stall, l.Get(link.Downstream).Stall, tc.want[name])
				}
			}
			if effect, proof := prove(t, a); !effect || !strings.Contains(proof, "0 bytes passed") || !strings.Contains(proof, "no answer") {
				t.Errorf("effect %v: %s", effect, proof)
			}
			proof, err := a.Heal(t.Context())
			if err != nil || !strings.Contains(proof, "is answered in") {
				t.Errorf("heal: %q, %v", proof, err)
			}
			for name, l := range f.cluster.links {
				if l.Get(link.Upstream) != (link.Gate{}) || l.Get(link.Downstream) != (link.Gate{}) {
					t.Errorf("%s is not open after healing", name)
				}
			}
		})
	}
}

// A gate that does not hold what it should is no effect.
func TestStallThatLeaksIsNoEffect(t *testing.T) {
	f := newFakes(t)
	f.cluster.links["n2>n1"].leaky = true
	a := inject(t, f.env, rundir.PlannedFault{ID: 1, Name: "stall", Target: "n2>n1", Parameters: Params{"direction": "down"}})
	if effect, proof := prove(t, a); effect {
		t.Errorf("effect was claimed: %s", proof)
	}
	if _, err := a.Heal(t.Context()); err != nil {
		t.Error(err)
	}
}

// Without an answer before, a probe without an answer proves nothing.
func TestSilenceAloneIsNoProof(t *testing.T) {
	f := newFakes(t)
	l := f.cluster.links["n2>n1"]
	// The server behind the link does not answer, and nothing is held by the link's own count.
	l.Set(link.Downstream, link.Gate{Latency: time.Minute})
	a := &stalled{env: f.env, ends: []end{{"n2>n1", link.Downstream}}, links: []string{"n2>n1"}, before: map[string]time.Duration{}}
	if quiet, shown, text, err := a.lookAt(t.Context(), l); !quiet || shown || err != nil {
		t.Errorf("quiet %v, shown %v: %s, %v", quiet, shown, text, err)
	}
}

func TestHealUnderAnotherStall(t *testing.T) {
	f := newFakes(t)
	a := inject(t, f.env, rundir.PlannedFault{ID: 1, Name: "stall", Target: "n2>n1", Parameters: Params{"direction": "down"}})
	b := inject(t, f.env, rundir.PlannedFault{ID: 2, Name: "partition", Target: "n1<>n2"})
	proof, err := a.Heal(t.Context())
	if err != nil || !strings.Contains(proof, "still stalled by fault 2") {
		t.Errorf("heal: %q, %v", proof, err)
	}
	if effect, proof := prove(t, b); !effect && !strings.Contains(proof, "0 bytes passed") {
		t.Errorf("the partition has ended with the stall: %s", proof)
	}
	if proof, err := b.Heal(t.Context()); err != nil || strings.Contains(proof, "stalled") {
		t.Errorf("heal: %q, %v", proof, err)
	}
}

func TestLag(t *testing.T) {
	for _, line := range []time.Duration{0, 40 * time.Millisecond} {
		testLag(t, line)
	}
}

// testLag lags a link whose line takes so long by itself, which is no effect of the fault.
func testLag(t *testing.T, line time.Duration) {
	f := newFakes(t)
	f.cluster.links["n2>n1"].stats.Delay = line
	plan := rundir.PlannedFault{ID: 1, Name: "lag", Target: "n2>n1", Parameters: Params{"latency_ms": 30.0, "jitter_ms": 1.0}}
	a := inject(t, f.env, plan)
	if effect, proof := prove(t, a); !effect {
		t.Errorf("no effect: %s", proof)
	}
	// The same fault on a link that does not delay must not pass for one.
	f.cluster.links["n2>n1"].Set(link.Upstream, link.Gate{})
	f.cluster.links["n2>n1"].Set(link.Downstream, link.Gate{})
	if effect, proof := prove(t, a); effect {
		t.Errorf("effect was claimed: %s", proof)
	}
	if _, err := a.Heal(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestReset(t *testing.T) {
	f := newFakes(t)
	l := f.cluster.links["n2>n1"]
	c, err := dial(t.Context(), l.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := ask(c); err != nil {
		t.Fatal(err)
	}
	a := inject(t, f.env, rundir.PlannedFault{ID: 1, Name: "reset", Target: "n2>n1", Parameters: Params{"every_ms": 20.0}})
	if effect, proof := prove(t, a); !effect || !strings.Contains(proof, "2 connections reset") {
		t.Errorf("effect %v: %s", effect, proof)
	}
	r := a.(*resetting)
	if err := until(t.Context(), func() (bool, error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.times >= 3, nil
	}); err != nil {
		t.Fatal(err)
	}
	if proof, err := a.Heal(t.Context()); err != nil || !strings.Contains(proof, "is answered") {
		t.Errorf("heal: %q, %v", proof, err)
	}
	times := r.times
	if err := wait.For(t.Context(), 60*time.Millisecond); err != nil || r.times != times {
		t.Error("it goes on after healing")
	}
}

func TestCut(t *testing.T) {
	f := newFakes(t)
	l := f.cluster.links["n2>n1"]
	a := inject(t, f.env, rundir.PlannedFault{ID: 1, Name: "cut", Target: "n2>n1", Parameters: Params{"direction": "down", "bytes": 500.0}})
	if got := l.Get(link.Downstream); got != (link.Gate{CutAfter: 500}) {
		t.Fatalf("gate %+v", got)
	}
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	effect, proof, err := a.Prove(short)
	cancel()
	if effect || err != nil || !strings.Contains(proof, "only 0 of 500 bytes") {
		t.Errorf("idle link: effect %v: %s, %v", effect, proof, err)
	}
	l.mu.Lock()
	l.stats.Cut++
	l.stats.DownBytes += 500
	l.gates[link.Downstream].CutAfter = 0
	l.mu.Unlock()
	if effect, proof := prove(t, a); !effect {
		t.Errorf("no effect: %s", proof)
	}
	if _, err := a.Heal(t.Context()); err != nil {
		t.Error(err)
	}
}

// A link whose server is down is neither proof of a fault nor an error when the fault ends.
func TestLinkOfANodeThatIsDown(t *testing.T) {
	f := newFakes(t)
	f.cluster.links["n2>n1"].ln.Close()
	if err := f.cluster.node("n1").Stop(t.Context(), topology.StopKill); err != nil {
		t.Fatal(err)
	}
	a := inject(t, f.env, rundir.PlannedFault{ID: 1, Name: "stall", Target: "n2>n1", Parameters: Params{"direction": "both"}})
	if effect, proof := prove(t, a); effect {
		t.Errorf("effect was claimed: %s", proof)
	}
	if proof, err := a.Heal(t.Context()); err != nil || !strings.Contains(proof, "n1 is down") {
		t.Errorf("heal: %q, %v", proof, err)
	}
}

// What proves a limit is that bytes waited for it and came no faster, not that something took long.
func TestSlow(t *testing.T) {
	for _, tc := range []struct {
		name   string
		bytes  int64
		waited time.Duration
		effect bool
	}{
		{"held to the limit", 2000, time.Millisecond, true},
		{"nothing passed", 0, time.Millisecond, false},
		{"nothing waited", 2000, 0, false},
		{"too fast", 1 << 50, time.Millisecond, false},
	} {
		f := newFakes(t)
		l := f.cluster.links["n2>n1"]
		a := inject(t, f.env, rundir.PlannedFault{ID: 1, Name: "slow", Target: "n2>n1", Parameters: Params{"bytes_per_second": 1e6}})
		f.cluster.dialled = func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.stats.DownBytes += tc.bytes
			l.stats.Throttled += tc.waited
			time.Sleep(5 * time.Millisecond) // so that 2000 bytes are not above the limit
		}
		if effect, proof := prove(t, a); effect != tc.effect {
			t.Errorf("%s: effect %v, %s", tc.name, effect, proof)
		}
		if _, err := a.Heal(t.Context()); err != nil {
			t.Error(err)
		}
		if got := l.Get(link.Upstream); got != (link.Gate{}) {
			t.Errorf("after healing: %+v", got)
		}
	}
}
