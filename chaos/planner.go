package chaos

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spockchaos/spockchaos/chaos/fault"
	"github.com/spockchaos/spockchaos/chaos/schedule"
	"github.com/spockchaos/spockchaos/checker/rundir"
)

// planner gives the schedule of round n, from 1; false when there are no more rounds.
type planner func(n int) (schedule.Round, bool)

// nodeNames are n1 to nN.
func nodeNames(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("n%d", i+1)
	}
	return names
}

// newPlanner draws schedules from the seed, or reads those of the run that is replayed.
// It fails before anything was begun if no schedule can be had.
func newPlanner(cfg Config) (planner, error) {
	if cfg.Replay != "" {
		return readPlans(cfg)
	}
	faults, err := drawn(cfg)
	if err != nil {
		return nil, err
	}
	c := schedule.Config{Nodes: nodeNames(cfg.Nodes), Chaos: cfg.Chaos, Faults: faults}
	if _, err := schedule.Draw(cfg.Seed, 1, c); err != nil {
		return nil, err
	}
	return func(n int) (schedule.Round, bool) {
		r, err := schedule.Draw(cfg.Seed, n, c)
		return r, err == nil // whether a round can be drawn does not depend on its number
	}, nil
}

// drawn are the faults of a configuration that its topology can have; those it cannot are left out, since they may be
// meant by no more than "all". An error if none is left.
func drawn(cfg Config) ([]string, error) {
	faults := cfg.Faults
	if len(faults) == 0 {
		faults = fault.Drawable()
	}
	can, cannot := fault.Supported(faults, cfg.Topology != "local")
	if len(can) == 0 {
		return nil, fmt.Errorf("fault %s needs nodes in containers: --topology docker", strings.Join(cannot, ", "))
	}
	if cfg.VolumeSize == 0 {
		can = slices.DeleteFunc(slices.Clone(can), func(name string) bool { return name == fault.DiskFull })
	}
	if len(can) == 0 {
		return nil, fmt.Errorf("fault %s needs volumes of a fixed size: --volume-size 1GB", fault.DiskFull)
	}
	return can, nil
}

// readPlans reads every schedule.json of the run that is replayed.
func readPlans(cfg Config) (planner, error) {
	var plans []schedule.Round
	for n := 1; ; n++ {
		r, err := schedule.Read(filepath.Join(rundir.RoundDir(cfg.Replay, n), rundir.ScheduleFile))
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("replay %s: %w", cfg.Replay, err)
		}
		if !slices.Equal(r.Nodes, nodeNames(cfg.Nodes)) {
			return nil, fmt.Errorf("replay %s: round %d is for nodes %v, not for %d nodes", cfg.Replay, n, r.Nodes, cfg.Nodes)
		}
		plans = append(plans, r)
	}
	if len(plans) == 0 {
		return nil, fmt.Errorf("replay %s: it has no schedule to run again", cfg.Replay)
	}
	return func(n int) (schedule.Round, bool) {
		if n > len(plans) {
			return schedule.Round{}, false
		}
		return plans[n-1], true
	}, nil
}
