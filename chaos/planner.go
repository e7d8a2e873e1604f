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

// newPlanner draws schedules from the seed, or reads those of the run that is replayed. skew says that they may skew
// clocks. It fails before anything was begun if no schedule can be had.
//
// check says why this machine cannot give its nodes clocks that can be skewed, nil if it can; it is asked only where that matters.
func newPlanner(cfg Config, check func() error) (plan planner, skew bool, err error) {
	if cfg.Replay != "" {
		return readPlans(cfg, check)
	}
	faults, err := drawn(cfg, check)
	if err != nil {
		return nil, false, err
	}
	c := schedule.Config{Nodes: nodeNames(cfg.Nodes), Chaos: cfg.Chaos, Faults: faults}
	if _, err := schedule.Draw(cfg.Seed, 1, c); err != nil {
		return nil, false, err
	}
	return func(n int) (schedule.Round, bool) {
		r, err := schedule.Draw(cfg.Seed, n, c)
		return r, err == nil // whether a round can be drawn does not depend on its number
	}, slices.Contains(faults, fault.ClockSkew), nil
}

// drawn are the faults of a configuration that its cluster can have; those it cannot are left out, since they may be
// meant by no more than "all". An error if none is left, or if one is missing that all does not mean.
func drawn(cfg Config, check func() error) ([]string, error) {
	faults := cfg.Faults
	if len(faults) == 0 {
		faults = fault.Meant(cfg.Workloads)
	}
	can, cannot := fault.Supported(faults, cfg.Topology != "local")
	if slices.Contains(cannot, fault.ClockSkew) && named(cfg, fault.ClockSkew) {
		return nil, fmt.Errorf("fault %s needs nodes that are processes: --topology local", fault.ClockSkew)
	}
	if len(can) == 0 {
		return nil, fmt.Errorf("fault %s needs nodes in containers: --topology docker", strings.Join(cannot, ", "))
	}
	if cfg.VolumeSize == 0 {
		can = butFor(can, fault.DiskFull)
	}
	if len(can) == 0 {
		return nil, fmt.Errorf("fault %s needs volumes of a fixed size: --volume-size 1GB", fault.DiskFull)
	}
	if slices.Contains(can, fault.ClockSkew) {
		if err := check(); err != nil {
			if named(cfg, fault.ClockSkew) {
				return nil, fmt.Errorf("fault %s: %w", fault.ClockSkew, err)
			}
			can = butFor(can, fault.ClockSkew)
		}
	}
	return can, nil
}

func butFor(names []string, name string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == name })
}

// named says whether the user asked for a fault by its name, and not with all.
func named(cfg Config, name string) bool {
	return slices.Contains(cfg.Faults, name) && !slices.Contains(cfg.Implied, name)
}

// readPlans reads every schedule.json of the run that is replayed.
func readPlans(cfg Config, check func() error) (plan planner, skew bool, err error) {
	var plans []schedule.Round
	for n := 1; ; n++ {
		r, err := schedule.Read(filepath.Join(rundir.RoundDir(cfg.Replay, n), rundir.ScheduleFile))
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return nil, false, fmt.Errorf("replay %s: %w", cfg.Replay, err)
		}
		if !slices.Equal(r.Nodes, nodeNames(cfg.Nodes)) {
			return nil, false, fmt.Errorf("replay %s: round %d is for nodes %v, not for %d nodes", cfg.Replay, n, r.Nodes, cfg.Nodes)
		}
		plans = append(plans, r)
		skew = skew || slices.ContainsFunc(r.Faults, func(p rundir.PlannedFault) bool { return p.Name == fault.ClockSkew })
	}
	if len(plans) == 0 {
		return nil, false, fmt.Errorf("replay %s: it has no schedule to run again", cfg.Replay)
	}
	if skew = skew && cfg.Topology == "local"; skew {
		if err := check(); err != nil {
			return nil, false, fmt.Errorf("replay %s: fault %s: %w", cfg.Replay, fault.ClockSkew, err)
		}
	}
	return func(n int) (schedule.Round, bool) {
		if n > len(plans) {
			return schedule.Round{}, false
		}
		return plans[n-1], true
	}, skew, nil
}
