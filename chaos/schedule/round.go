package schedule

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/spockchaos/spockchaos/chaos/fault"
	"github.com/spockchaos/spockchaos/checker/rundir"
)

// Round is what is to happen in one round. Times are offsets from the start of the chaos phase.
type Round struct {
	Number int              `json:"number"`
	Seed   uint64           `json:"seed"`
	Kind   rundir.RoundKind `json:"kind"`
	Nodes  []string         `json:"nodes"`
	Chaos  time.Duration    `json:"chaos_ns"`
	Failed string           `json:"failed"` // lost in a loss round, killed and brought back in a crash round

	// The rest is of loss rounds only.

	// Target is made to lag behind Source from LagAt on by the fault LagID, which stays on
	// until all is healed. From LagAt to LossAt nothing else touches Failed, Source, the link Source>Failed
	// or the clients of Failed, so that Source provably gets what Target lacks.
	Target      string `json:"target,omitempty"`
	Source      string `json:"source,omitempty"`
	Coordinator string `json:"coordinator,omitempty"` // the survivor that runs the rescue
	LagID       int    `json:"lag_id,omitempty"`
	// LossID is the fault that loses Failed at LossAt, the end of the chaos phase.
	LossID int           `json:"loss_id,omitempty"`
	LagAt  time.Duration `json:"lag_at_ns,omitempty"`
	LossAt time.Duration `json:"loss_at_ns,omitempty"`

	// Note says what could not be drawn as asked, and why.
	Note string `json:"note,omitempty"`
	// Faults is the plan, by time; ids count from 1 in that order.
	Faults []rundir.PlannedFault `json:"faults"`
}

// Parse reads a round as Marshal wrote it and checks that it can be run.
func Parse(data []byte) (Round, error) {
	var r Round
	if err := json.Unmarshal(data, &r); err != nil {
		return Round{}, fmt.Errorf("schedule: %w", err)
	}
	if err := r.validate(); err != nil {
		return Round{}, fmt.Errorf("schedule: %w", err)
	}
	return r, nil
}

// Marshal is the round as schedule.json has it.
func (r Round) Marshal() ([]byte, error) {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("schedule: %w", err)
	}
	return append(data, '\n'), nil
}

// Read reads a schedule.json.
func Read(path string) (Round, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Round{}, fmt.Errorf("schedule: %w", err)
	}
	r, err := Parse(data)
	if err != nil {
		return Round{}, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// Write makes or replaces a schedule.json.
func (r Round) Write(path string) error {
	data, err := r.Marshal()
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		return fmt.Errorf("schedule: %w", err)
	}
	return nil
}

func (r Round) validate() error {
	if r.Kind != rundir.KindLoss && r.Kind != rundir.KindCrash {
		return fmt.Errorf("round kind is %q", r.Kind)
	}
	if !slices.Contains(r.Nodes, r.Failed) {
		return fmt.Errorf("failed node %q is not in the cluster", r.Failed)
	}
	if r.Chaos <= 0 {
		return fmt.Errorf("the chaos phase lasts %s", r.Chaos)
	}
	if err := fault.Validate(fault.World{Nodes: r.Nodes}, r.Faults); err != nil {
		return err
	}
	if r.Kind == rundir.KindCrash {
		return nil
	}
	for _, n := range []string{r.Target, r.Source, r.Coordinator} {
		if n == r.Failed || !slices.Contains(r.Nodes, n) {
			return fmt.Errorf("%q is not a survivor", n)
		}
	}
	if r.Target == r.Source {
		return fmt.Errorf("%s cannot be both source and target", r.Target)
	}
	if p, ok := r.planned(r.LossID); !ok || p.Name != "loss" || p.Target != r.Failed {
		return fmt.Errorf("fault %d is not the loss of %s", r.LossID, r.Failed)
	}
	if _, ok := r.planned(r.LagID); !ok {
		return fmt.Errorf("there is no fault %d that makes %s lag", r.LagID, r.Target)
	}
	return nil
}

func (r Round) planned(id int) (rundir.PlannedFault, bool) {
	i := slices.IndexFunc(r.Faults, func(p rundir.PlannedFault) bool { return p.ID == id })
	if i < 0 {
		return rundir.PlannedFault{}, false
	}
	return r.Faults[i], true
}
