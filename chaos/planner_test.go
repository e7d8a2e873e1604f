package chaos

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spockchaos/spockchaos/chaos/fault"
	"github.com/spockchaos/spockchaos/checker/rundir"
)

// able and unable are machines that can and cannot skew clocks.
func able() error   { return nil }
func unable() error { return errors.New("no compiler") }

func TestReplayReadsTheSchedules(t *testing.T) {
	drawn, _, err := newPlanner(Config{Seed: 9, Nodes: 3, Chaos: 5 * time.Second}, able)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for n := 1; n <= 2; n++ {
		r, ok := drawn(n)
		if !ok {
			t.Fatalf("no round %d", n)
		}
		if err := os.MkdirAll(rundir.RoundDir(dir, n), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := r.Write(filepath.Join(rundir.RoundDir(dir, n), rundir.ScheduleFile)); err != nil {
			t.Fatal(err)
		}
	}
	again, skew, err := newPlanner(Config{Seed: 1, Nodes: 3, Chaos: time.Minute, Replay: dir}, able)
	if err != nil {
		t.Fatal(err)
	}
	if skew {
		t.Error("clocks are to be skewed, with none in the schedule")
	}
	for n := 1; n <= 2; n++ {
		want, _ := drawn(n)
		if got, ok := again(n); !ok || !reflect.DeepEqual(got, want) {
			t.Errorf("round %d is not the one that was saved:\n%+v\n%+v", n, got, want)
		}
	}
	if _, ok := again(3); ok {
		t.Error("a third round came from nowhere")
	}
	if _, _, err := newPlanner(Config{Nodes: 4, Replay: dir}, able); err == nil || !strings.Contains(err.Error(), "round 1") {
		t.Errorf("four nodes for a schedule of three: %v", err)
	}
	if _, _, err := newPlanner(Config{Nodes: 3, Replay: t.TempDir()}, able); err == nil || !strings.Contains(err.Error(), "no schedule") {
		t.Errorf("a directory without rounds: %v", err)
	}
}

func TestContainerFaultsAreDrawnForContainersOnly(t *testing.T) {
	drawnFor := func(topology string, volume int64, faults ...string) map[string]bool {
		t.Helper()
		plan, _, err := newPlanner(Config{Seed: 3, Nodes: 3, Chaos: time.Minute, Topology: topology, VolumeSize: volume, Faults: faults}, able)
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for n := 1; n <= 20; n++ {
			r, _ := plan(n)
			for _, f := range r.Faults {
				seen[f.Name] = true
			}
		}
		return seen
	}
	local, docker, unsized := drawnFor("local", 0), drawnFor("docker", 1<<30), drawnFor("docker", 0)
	for _, name := range fault.Containers() {
		if local[name] || !docker[name] {
			t.Errorf("%s: drawn for local nodes %v, for containers %v", name, local[name], docker[name])
		}
		if unsized[name] == (name == fault.DiskFull) {
			t.Errorf("%s: drawn for containers without a size of their volumes: %v", name, unsized[name])
		}
	}
	if seen := drawnFor("local", 0, fault.DiskFull, "stall"); seen["disk_full"] || !seen["stall"] {
		t.Errorf("a list with one that containers need: %v", seen)
	}
	for topology, want := range map[string]string{"local": "docker", "docker": "--volume-size"} {
		_, _, err := newPlanner(Config{Nodes: 3, Chaos: time.Minute, Topology: topology, Faults: []string{fault.DiskFull}}, able)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("nothing but what %s nodes do not have: %v", topology, err)
		}
	}
}

// Clocks are skewed where the fault was named, or came with its workload and can be had.
func TestClocksAreSkewedWhereTheyCan(t *testing.T) {
	all := fault.Meant(nil)
	for _, c := range []struct {
		name            string
		topology        string
		check           func() error
		faults, implied []string
		workloads       []string
		skew            bool
		wrong           string
	}{
		{"nothing said", "local", unable, nil, nil, nil, false, ""},
		{"nothing said, with its workload", "local", able, nil, nil, []string{"conflicts"}, true, ""},
		{"all", "local", unable, all, nil, nil, false, ""},
		{"named", "local", able, []string{"stall", fault.ClockSkew}, nil, nil, true, ""},
		{"named, no compiler", "local", unable, []string{"stall", fault.ClockSkew}, nil, nil, false, "fault clock_skew: no compiler"},
		{"named, in containers", "docker", able, []string{"stall", fault.ClockSkew}, nil, nil, false, "--topology local"},
		{"all, with its workload", "local", able, append(all, fault.ClockSkew), []string{fault.ClockSkew}, nil, true, ""},
		{"all, with its workload, no compiler", "local", unable, append(all, fault.ClockSkew), []string{fault.ClockSkew}, nil, false, ""},
		{"all, with its workload, in containers", "docker", able, append(all, fault.ClockSkew), []string{fault.ClockSkew}, nil, false, ""},
	} {
		plan, skew, err := newPlanner(Config{Seed: 3, Nodes: 3, Chaos: time.Minute, Topology: c.topology, Faults: c.faults, Implied: c.implied, Workloads: c.workloads}, c.check)
		if c.wrong != "" {
			if err == nil || !strings.Contains(err.Error(), c.wrong) {
				t.Errorf("%s: %v, want %q", c.name, err, c.wrong)
			}
			continue
		}
		if err != nil || skew != c.skew {
			t.Errorf("%s: clocks are to be skewed: %v, %v", c.name, skew, err)
			continue
		}
		drawn := false
		for n := 1; n <= 20; n++ {
			r, _ := plan(n)
			drawn = drawn || slices.ContainsFunc(r.Faults, func(p rundir.PlannedFault) bool { return p.Name == fault.ClockSkew })
		}
		if drawn != c.skew {
			t.Errorf("%s: drawn in 20 rounds: %v", c.name, drawn)
		}
	}
}

func TestReplayOfASkewedClock(t *testing.T) {
	plan, _, err := newPlanner(Config{Seed: 9, Nodes: 3, Chaos: 5 * time.Second, Topology: "local", Faults: []string{fault.ClockSkew}}, able)
	if err != nil {
		t.Fatal(err)
	}
	r, _ := plan(1)
	dir := t.TempDir()
	if err := os.MkdirAll(rundir.RoundDir(dir, 1), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := r.Write(filepath.Join(rundir.RoundDir(dir, 1), rundir.ScheduleFile)); err != nil {
		t.Fatal(err)
	}
	if _, skew, err := newPlanner(Config{Nodes: 3, Topology: "local", Replay: dir}, able); err != nil || !skew {
		t.Errorf("clocks are to be skewed: %v, %v", skew, err)
	}
	if _, _, err := newPlanner(Config{Nodes: 3, Topology: "local", Replay: dir}, unable); err == nil || !strings.Contains(err.Error(), "no compiler") {
		t.Errorf("a machine that cannot: %v", err)
	}
	if _, skew, err := newPlanner(Config{Nodes: 3, Topology: "docker", Replay: dir}, unable); err != nil || skew {
		t.Errorf("containers: %v, %v", skew, err)
	}
}
