package chaos

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spockchaos/spockchaos/chaos/fault"
	"github.com/spockchaos/spockchaos/checker/rundir"
)

func TestReplayReadsTheSchedules(t *testing.T) {
	drawn, err := newPlanner(Config{Seed: 9, Nodes: 3, Chaos: 5 * time.Second})
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
	again, err := newPlanner(Config{Seed: 1, Nodes: 3, Chaos: time.Minute, Replay: dir})
	if err != nil {
		t.Fatal(err)
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
	if _, err := newPlanner(Config{Nodes: 4, Replay: dir}); err == nil || !strings.Contains(err.Error(), "round 1") {
		t.Errorf("four nodes for a schedule of three: %v", err)
	}
	if _, err := newPlanner(Config{Nodes: 3, Replay: t.TempDir()}); err == nil || !strings.Contains(err.Error(), "no schedule") {
		t.Errorf("a directory without rounds: %v", err)
	}
}

func TestContainerFaultsAreDrawnForContainersOnly(t *testing.T) {
	drawnFor := func(topology string, volume int64, faults ...string) map[string]bool {
		t.Helper()
		plan, err := newPlanner(Config{Seed: 3, Nodes: 3, Chaos: time.Minute, Topology: topology, VolumeSize: volume, Faults: faults})
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
		_, err := newPlanner(Config{Nodes: 3, Chaos: time.Minute, Topology: topology, Faults: []string{fault.DiskFull}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("nothing but what %s nodes do not have: %v", topology, err)
		}
	}
}
