package schedule

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/spockchaos/spockchaos/chaos/fault"
	"github.com/spockchaos/spockchaos/checker/rundir"
)

func nodes(n int) []string {
	var names []string
	for i := range n {
		names = append(names, fmt.Sprintf("n%d", i+1))
	}
	return names
}

// anyConfig draws a configuration that a user can give.
func anyConfig(t *rapid.T) Config {
	cfg := Config{Nodes: nodes(rapid.IntRange(2, 9).Draw(t, "nodes"))}
	cfg.Chaos = time.Duration(rapid.IntRange(4_000, 120_000).Draw(t, "chaos_ms")) * time.Millisecond
	cfg.Failed = rapid.SampledFrom(append(slices.Clone(cfg.Nodes), "")).Draw(t, "failed")
	if rapid.Bool().Draw(t, "some faults") {
		cfg.Faults = rapid.SliceOfNDistinct(rapid.SampledFrom(fault.Drawable()), 1, -1, rapid.ID).Draw(t, "faults")
	}
	return cfg
}

func anyRound(t *rapid.T) (Config, Round) {
	cfg := anyConfig(t)
	r, err := Draw(rapid.Uint64().Draw(t, "seed"), rapid.IntRange(1, 40).Draw(t, "round"), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return cfg, r
}

func reachOf(t *rapid.T, r Round, p rundir.PlannedFault) (fault.Fault, fault.Reach) {
	f, ok := fault.ByName(p.Name)
	if !ok {
		t.Fatalf("no fault %q", p.Name)
	}
	reach, err := f.Touches(fault.World{Nodes: r.Nodes}, p.Target, p.Parameters)
	if err != nil {
		t.Fatalf("%s on %s: %v", p.Name, p.Target, err)
	}
	return f, reach
}

func TestSameSeedSameRound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := anyConfig(t)
		seed, number := rapid.Uint64().Draw(t, "seed"), rapid.IntRange(1, 40).Draw(t, "round")
		a, errA := Draw(seed, number, cfg)
		b, errB := Draw(seed, number, cfg)
		if errA != nil || errB != nil || !reflect.DeepEqual(a, b) {
			t.Fatalf("two draws differ: %v %v\n%+v\n%+v", errA, errB, a, b)
		}
	})
}

func TestDifferentSeedsDifferentRounds(t *testing.T) {
	seen := map[string]bool{}
	for seed := range uint64(20) {
		r, err := Draw(seed, 1, Config{Nodes: nodes(3), Chaos: 20 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		seen[fmt.Sprint(r.Faults)] = true
	}
	if len(seen) != 20 {
		t.Errorf("20 seeds gave %d different plans", len(seen))
	}
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		_, r := anyRound(t)
		data, err := r.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		back, err := Parse(data)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(r, back) {
			t.Fatalf("read back:\n%+v\nwritten:\n%+v", back, r)
		}
	})
}

// Every fault begins and ends within the phase, or is meant to stay: the loss, the lag
// and gentle faults among survivors.
func TestTimesAndEnds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg, r := anyRound(t)
		for i, p := range r.Faults {
			if p.ID != i+1 || i > 0 && p.At < r.Faults[i-1].At {
				t.Fatalf("fault %d is out of order", p.ID)
			}
			if p.At < 0 || p.At > r.Chaos || p.At+p.For > r.Chaos {
				t.Fatalf("%+v is not within %s", p, r.Chaos)
			}
			own := p.ID == r.LagID || p.ID == r.LossID
			if p.For == 0 && !own {
				if r.Kind != rundir.KindLoss || p.Name != "lag" && p.Name != "slow" {
					t.Fatalf("%+v is never healed", p)
				}
				from, to, err := fault.ParseLink(p.Target)
				if err != nil || from == "client" || from == r.Failed || to == r.Failed {
					t.Fatalf("%+v stays on and is not among survivors", p)
				}
			}
			listed := len(cfg.Faults) == 0 || slices.Contains(cfg.Faults, p.Name)
			if !listed && !own && !(r.Kind == rundir.KindCrash && p.Name == "kill" && p.Target == r.Failed) {
				t.Fatalf("%+v was left out by the user", p)
			}
		}
	})
}

// In a loss round nothing but the lag stands between failed node and source from the lag's beginning to the loss.
func TestLossRoundKeepsPeace(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		_, r := anyRound(t)
		if r.Kind != rundir.KindLoss {
			t.Skip("crash round")
		}
		lag, _ := r.planned(r.LagID)
		loss, _ := r.planned(r.LossID)
		if lag.For != 0 || lag.At != r.LagAt || lag.Target != fault.LinkName(r.Target, r.Failed) {
			t.Fatalf("lag: %+v", lag)
		}
		if loss.At != r.LossAt || loss.Target != r.Failed || r.LossAt != r.Chaos {
			t.Fatalf("loss: %+v", loss)
		}
		if r.LagAt < r.Chaos/2-time.Millisecond || r.LagAt > r.Chaos*8/10 || r.LossAt-r.LagAt < leastPeace(r.Chaos) {
			t.Fatalf("the lag begins at %s of %s", r.LagAt, r.Chaos)
		}
		if r.Source == r.Target || slices.Contains([]string{r.Source, r.Target, r.Coordinator}, r.Failed) {
			t.Fatalf("roles: %+v", r)
		}
		peaceLinks := []string{r.Source + ">" + r.Failed, "client>" + r.Failed}
		for _, p := range r.Faults {
			if p.ID == r.LagID || p.ID == r.LossID {
				continue
			}
			f, reach := reachOf(t, r, p)
			end := p.At + p.For
			if p.For == 0 {
				end = r.Chaos
			}
			for _, l := range reach.Links {
				if slices.Contains(peaceLinks, l) && end > r.LagAt {
					t.Fatalf("%+v disturbs %s after %s", p, l, r.LagAt)
				}
			}
			for _, n := range reach.Nodes {
				if (n == r.Failed || n == r.Source) && end > r.LagAt {
					t.Fatalf("%+v disturbs %s after %s", p, n, r.LagAt)
				}
			}
			if f.Class() == fault.OnNode && end > r.LossAt-min(3*time.Second, r.Chaos/5) {
				t.Fatalf("%+v: its node cannot be back at the loss", p)
			}
		}
	})
}

func TestCrashRoundBringsTheFailedNodeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		_, r := anyRound(t)
		if r.Kind != rundir.KindCrash {
			t.Skip("loss round")
		}
		killed := false
		for _, p := range r.Faults {
			killed = killed || p.Name == "kill" && p.Target == r.Failed && p.For > 0
			if p.Name == "loss" || p.For == 0 {
				t.Fatalf("%+v in a crash round", p)
			}
		}
		if !killed {
			t.Fatalf("%s is not killed: %+v", r.Failed, r.Faults)
		}
	})
}

// Two node faults never meet on one node, and one node is in service at any time.
func TestNodeFaultsDoNotMeet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		_, r := anyRound(t)
		var down []rundir.PlannedFault
		for _, p := range r.Faults {
			if f, _ := reachOf(t, r, p); f.Class() == fault.OnNode {
				down = append(down, p)
			}
		}
		for _, a := range down {
			out := map[string]bool{}
			for _, b := range down {
				if b.At <= a.At && a.At < b.At+b.For {
					if out[b.Target] {
						t.Fatalf("two node faults on %s at %s", b.Target, a.At)
					}
					out[b.Target] = true
				}
			}
			if len(out) == len(r.Nodes) {
				t.Fatalf("no node is up at %s", a.At)
			}
		}
	})
}

func TestKinds(t *testing.T) {
	crashes := 0
	for number := 1; number <= 400; number++ {
		r, err := Draw(7, number, Config{Nodes: nodes(3), Chaos: 10 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		if number == 1 && r.Kind != rundir.KindLoss {
			t.Errorf("round 1 is %s", r.Kind)
		}
		if r.Kind == rundir.KindCrash {
			crashes++
		}
	}
	if crashes < 60 || crashes > 140 {
		t.Errorf("%d of 400 rounds are crash rounds, want about a quarter", crashes)
	}
	r, err := Draw(7, 1, Config{Nodes: nodes(2), Chaos: 10 * time.Second})
	if err != nil || r.Kind != rundir.KindCrash || r.Note == "" {
		t.Errorf("two nodes: %s, note %q, %v", r.Kind, r.Note, err)
	}
}

// The plan of a usual round is dense, begins early, and over many seeds uses every fault.
func TestDensity(t *testing.T) {
	used := map[string]int{}
	few := 0
	for seed := range uint64(200) {
		r, err := Draw(seed, 1, Config{Nodes: nodes(3), Chaos: 20 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range r.Faults {
			used[p.Name]++
		}
		if len(r.Faults) < 7 {
			few++
		}
		if len(r.Faults) > 2+2+12 {
			t.Errorf("seed %d: %d faults", seed, len(r.Faults))
		}
		if r.Faults[0].At > time.Second {
			t.Errorf("seed %d: the first fault is at %s", seed, r.Faults[0].At)
		}
	}
	if few > 20 {
		t.Errorf("%d of 200 rounds have fewer than 5 faults beside lag and loss", few)
	}
	for _, f := range fault.All() {
		if used[f.Name()] == 0 {
			t.Errorf("%s is never drawn", f.Name())
		}
	}
}

func TestBadConfig(t *testing.T) {
	for name, cfg := range map[string]Config{
		"one node":      {Nodes: nodes(1), Chaos: 10 * time.Second},
		"too short":     {Nodes: nodes(3), Chaos: time.Second},
		"unknown fault": {Nodes: nodes(3), Chaos: 10 * time.Second, Faults: []string{"flood"}},
		"unknown node":  {Nodes: nodes(3), Chaos: 10 * time.Second, Failed: "n9"},
	} {
		if _, err := Draw(1, 1, cfg); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// The loss of a node is the round's own: naming it among the faults neither adds nor removes anything.
func TestLossByName(t *testing.T) {
	r, err := Draw(1, 1, Config{Nodes: nodes(3), Chaos: 10 * time.Second, Faults: []string{"loss"}})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Faults) != 2 || r.Faults[0].Name != "subscription_disabled" || r.Faults[1].Name != "loss" {
		t.Errorf("plan: %+v", r.Faults)
	}
}
