package reports

import (
	"time"

	"github.com/spockchaos/spockchaos/checker"
	"github.com/spockchaos/spockchaos/checker/rundir"
)

// SchemaVersion is raised when a reader of old reports would misread new ones.
const SchemaVersion = 1

// Report is report.json.
type Report struct {
	SchemaVersion int             `json:"schema_version"`
	Verdict       checker.Verdict `json:"verdict"`
	Reasons       []string        `json:"reasons"`
	Checked       bool            `json:"checked"` // false: saved before the check ran
	Seed          uint64          `json:"seed"`
	Config        map[string]any  `json:"config"`
	Versions      rundir.Versions `json:"versions"`
	Nodes         []string        `json:"nodes"`
	StartedAt     time.Time       `json:"started_at"`
	EndedAt       time.Time       `json:"ended_at"`    // of a run that was killed: the last time it recorded
	Interrupted   bool            `json:"interrupted"` // ended early by a signal
	Error         string          `json:"error"`       // why the harness itself stopped early, "" if it did not
	ReplayOf      string          `json:"replay_of"`
	Rounds        []Round         `json:"rounds"`
	Operations    Operations      `json:"operations"`
	RPO           checker.RPO     `json:"rpo"`
	Faults        []Fault         `json:"faults"`
	Rescues       []Rescue        `json:"rescues"`
	Slots         map[string]Slot `json:"slots"` // by node
	Findings      []Finding       `json:"findings"`
	Again         Again           `json:"run_again"`
	Notes         []string        `json:"notes"` // what of the run directory could not be read, what the harness had to do for the engine, and when nobody saw anything

	// EngineSettings are those that decide over conflicts and over changes that fail.
	EngineSettings map[string]string `json:"engine_settings"`
}

// Round is one round of a run.
type Round struct {
	Number      int                `json:"number"`
	Kind        rundir.RoundKind   `json:"kind"`
	Verdict     checker.Verdict    `json:"verdict"`
	Reasons     []string           `json:"reasons"`
	Failed      string             `json:"failed"` // the node that was lost or crashed
	Target      string             `json:"target"` // the survivor that was made to lag
	Seed        uint64             `json:"seed"`
	StartedAt   *time.Time         `json:"started_at"`
	Complete    bool               `json:"complete"`
	Interrupted bool               `json:"interrupted"`
	Quiesced    bool               `json:"quiesced"`
	Error       string             `json:"error"`
	Timings     map[string]float64 `json:"timings"` // seconds of each phase
	Operations  Operations         `json:"operations"`
	RPO         checker.RPO        `json:"rpo"`
	Faults      []Fault            `json:"faults"`
	Rescues     []Rescue           `json:"rescues"`
	Findings    []Finding          `json:"findings"`
}

// Operations counts outcomes.
type Operations struct {
	OK         int64                 `json:"ok"`
	Fail       int64                 `json:"fail"`
	Unknown    int64                 `json:"unknown"`
	ByWorkload map[string]Operations `json:"by_workload"`
}

// Fault is a fault that was injected, with its proof.
type Fault struct {
	Round      int            `json:"round"`
	ID         int            `json:"id"`
	Name       string         `json:"name"`
	Target     string         `json:"target"`
	Parameters map[string]any `json:"parameters"`
	PlannedAt  *time.Time     `json:"planned_at"` // null: not known
	StartedAt  *time.Time     `json:"started_at"`
	EndedAt    *time.Time     `json:"ended_at"`
	Effect     bool           `json:"effect"`
	Proof      string         `json:"proof"`
	EndProof   string         `json:"end_proof"`
	Error      string         `json:"error"`
}

// Rescue is one rescue of one target.
type Rescue struct {
	Round         int        `json:"round"`
	Failed        string     `json:"failed"`
	Source        string     `json:"source"`
	Target        string     `json:"target"`
	Coordinator   string     `json:"coordinator"`
	Strategy      string     `json:"strategy"`
	StartedAt     *time.Time `json:"started_at"`
	OK            bool       `json:"ok"`
	Error         string     `json:"error"`
	Transactions  int64      `json:"transactions"`
	Rows          int64      `json:"rows"`
	Seconds       float64    `json:"seconds"`
	ResumedTimes  int        `json:"resumed_times"`
	ExitStatus    *int       `json:"exit_status,omitempty"` // of a runbook
	MissingBefore int64      `json:"missing_before"`        // ledger rows that the source had and the target lacked
	MissingAfter  int64      `json:"missing_after"`
	SourceAfter   string     `json:"source_after"` // progress for the failed node
	TargetBefore  string     `json:"target_before"`
	TargetAfter   string     `json:"target_after"`
	Repeated      bool       `json:"repeated"`   // it was called a second time
	Repeatable    bool       `json:"repeatable"` // and that changed nothing
	Log           []string   `json:"log"`
}

// Slot is what the samples say of one node's recovery slot.
type Slot struct {
	Samples     int64 `json:"samples"`
	Advances    int64 `json:"advances"`
	FellBack    int64 `json:"fell_back"`
	MaxRetained int64 `json:"max_retained_bytes"`
}

// Finding is one violation with its evidence.
type Finding struct {
	Kind         checker.Kind   `json:"kind"`
	Round        int            `json:"round"`
	Node         string         `json:"node"`
	Key          string         `json:"key"`
	Summary      string         `json:"summary"`
	Count        int64          `json:"count"`
	Evidence     map[string]any `json:"evidence"`
	FaultsActive []string       `json:"faults_active"`
}

// Again is how to run the same once more, as command lines for a POSIX shell.
type Again struct {
	Run    string `json:"run"`    // the same seed and settings
	Replay string `json:"replay"` // the recorded schedule
	Check  string `json:"check"`  // the same files judged again
}

// Figures are sums over a report.
type Figures struct {
	FaultsWithEffect   int
	RescueTransactions int64
	RescueRows         int64
	RescueSeconds      float64
}

// Figures sums up faults and rescues.
func (rep *Report) Figures() Figures {
	var f Figures
	for _, x := range rep.Faults {
		if x.Effect {
			f.FaultsWithEffect++
		}
	}
	for _, x := range rep.Rescues {
		f.RescueTransactions += x.Transactions
		f.RescueRows += x.Rows
		f.RescueSeconds += x.Seconds
	}
	return f
}
