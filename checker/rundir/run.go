package rundir

import (
	"time"

	"github.com/spockchaos/spockchaos/workload/history"
)

// SchemaVersion is raised when a reader of the old files would misread new ones.
const SchemaVersion = 1

// Run is run.json: what was asked for and what it ran on. It is written before
// the first round and again at the end (EndedAt, Interrupted).
type Run struct {
	SchemaVersion int              `json:"schema_version"`
	Seed          uint64           `json:"seed"`
	Config        map[string]any   `json:"config"` // the effective configuration, by flag name
	Versions      Versions         `json:"versions"`
	Nodes         []string         `json:"nodes"` // n1..nN
	Workload      history.Workload `json:"workload"`
	StartedAt     time.Time        `json:"started_at"`
	EndedAt       time.Time        `json:"ended_at,omitzero"`
	Interrupted   bool             `json:"interrupted"`     // ended early by a signal
	Error         string           `json:"error,omitempty"` // why the harness itself stopped early
	Rounds        int              `json:"rounds"`          // rounds begun
	ReplayOf      string           `json:"replay_of,omitempty"`
	RecoverySQL   string           `json:"recovery_sql,omitempty"` // the user's file, if one was loaded
	FirstFaultAt  time.Time        `json:"first_fault_at,omitzero"`

	// EngineSettings are those that decide over conflicts and over changes that fail, as the first node has them.
	EngineSettings map[string]string `json:"engine_settings,omitempty"`
}

// Versions names what a verdict is about.
type Versions struct {
	Postgres   string `json:"postgres"`
	Engine     string `json:"engine"` // "pglogical 2.4.2"
	SpockChaos string `json:"spockchaos"`
}

// RoundKind says how the failed node fails.
type RoundKind string

const (
	// KindLoss loses the failed node for good and rescues the survivors.
	KindLoss RoundKind = "loss"
	// KindCrash kills the failed node and brings it back: nothing acknowledged may be missing anywhere.
	KindCrash RoundKind = "crash"
)

// Phase names, in the order of a round.
const (
	PhaseRestore  = "restore"
	PhaseBaseline = "baseline"
	PhaseChaos    = "chaos"
	PhaseLoss     = "loss"
	PhaseRescue   = "rescue"
	PhaseHeal     = "heal"
	PhaseQuiesce  = "quiesce"
	PhaseSettle   = "settle"   // waits for the recovery slots to move (liveness), and calls each rescue again
	PhaseSnapshot = "snapshot" // final snapshots of the survivors
	PhaseCheck    = "check"
)

// Phase is one stretch of a round.
type Phase struct {
	Name  string    `json:"name"`
	Start time.Time `json:"start"`
	End   time.Time `json:"end,omitzero"`
}

// Round is round.json. It is rewritten after every phase, so that a killed run
// still says how far it came.
type Round struct {
	Number    int       `json:"number"`
	Kind      RoundKind `json:"kind"`
	Seed      uint64    `json:"seed"`
	Failed    string    `json:"failed"`           // the node that was lost or crashed
	Survivors []string  `json:"survivors"`        // loss: all but Failed; crash: every node
	Target    string    `json:"target,omitempty"` // the survivor that was made to lag
	Phases    []Phase   `json:"phases"`
	LostAt    time.Time `json:"lost_at,omitzero"`
	// Quiesced is whether all survivors agreed on every table within QuiesceLimit.
	Quiesced     bool          `json:"quiesced"`
	QuiesceLimit time.Duration `json:"quiesce_limit_ns"`
	QuiesceNote  string        `json:"quiesce_note,omitempty"` // what still differed when the limit was reached
	// Complete is whether the round came to its final snapshots.
	Complete    bool   `json:"complete"`
	Interrupted bool   `json:"interrupted"`
	Error       string `json:"error,omitempty"` // why the harness gave the round up
	// StallLimit is the T of rule "slot stalled".
	StallLimit time.Duration `json:"stall_limit_ns"`
	// Leftovers of the rescues, looked for on every survivor after heal: clone slots,
	// disabled subscriptions, disabled triggers, sessions of a rescue. One line each.
	Leftovers []Leftover `json:"leftovers,omitempty"`
	// Woken are the subscriptions that the engine left without an apply worker after everything
	// was healed, and that the harness restarted.
	Woken []Woken `json:"woken,omitempty"`
}

// Woken is one such subscription.
type Woken struct {
	At       time.Time     `json:"at"`
	Node     string        `json:"node"` // the subscriber
	Provider string        `json:"provider"`
	Down     time.Duration `json:"down_ns"` // how long it was seen without a worker
}

// Leftover is something that a rescue should have taken away.
type Leftover struct {
	Node   string `json:"node"`
	What   string `json:"what"` // "clone slot", "subscription disabled", "trigger disabled", "session", "subscription to the failed node"; of a server's own rescue: "rescue subscription", "subscription suspended for a rescue"
	Name   string `json:"name"`
	Detail string `json:"detail,omitempty"`
}
