package checker

import "github.com/spockchaos/spockchaos/checker/rundir"

// Kind is the name of a violation, as report.json has it (design, section 6).
type Kind string

const (
	Lost                Kind = "lost"
	Vanished            Kind = "vanished"
	Resurrected         Kind = "resurrected"
	Phantom             Kind = "phantom"
	Doubled             Kind = "doubled"
	Diverged            Kind = "diverged"
	Torn                Kind = "torn"
	OutOfOrder          Kind = "out_of_order"
	SlotRegressed       Kind = "slot_regressed"
	SlotMissing         Kind = "slot_missing"
	SlotOverran         Kind = "slot_overran"
	SlotStalled         Kind = "slot_stalled"
	RescueIncomplete    Kind = "rescue_incomplete"
	RescueLeftovers     Kind = "rescue_leftovers"
	RescueNotRepeatable Kind = "rescue_not_repeatable"
	NotConverging       Kind = "not_converging"
	ExplainedLoss       Kind = "explained_loss"
)

// Verdict of a round or a run.
type Verdict string

const (
	Pass         Verdict = "pass"
	FailVerdict  Verdict = "fail"
	Inconclusive Verdict = "inconclusive"
)

// Finding is one violation with its evidence. Many alike are folded into one:
// Count says how many, Evidence shows the first few.
type Finding struct {
	Kind         Kind           `json:"kind"`
	Round        int            `json:"round"`
	Node         string         `json:"node"`
	Key          string         `json:"key"` // "session 3 n 217", "register 12884901889", "slot spk_recovery_chaos"
	Summary      string         `json:"summary"`
	Count        int64          `json:"count"`
	Evidence     map[string]any `json:"evidence"`
	FaultsActive []string       `json:"faults_active"` // faults on when it happened, "name target"
}

// Operations counts outcomes.
type Operations struct {
	OK         int64                  `json:"ok"`
	Fail       int64                  `json:"fail"`
	Unknown    int64                  `json:"unknown"`
	ByWorkload map[string]*Operations `json:"by_workload,omitempty"`
}

// RPO counts acknowledged writes that no survivor ever had: not a violation, always reported.
type RPO struct {
	Writes        int64   `json:"writes"`
	OldestSeconds float64 `json:"oldest_seconds"` // age of the oldest of them when the node was lost
}

// SlotSummary is what the samples say of one node's recovery slot.
type SlotSummary struct {
	Samples     int64 `json:"samples"`
	Advances    int64 `json:"advances"`
	FellBack    int64 `json:"fell_back"` // legal: after a crash, to what the last checkpoint had saved
	MaxRetained int64 `json:"max_retained_bytes"`
}

// RoundResult is the verdict on one round.
type RoundResult struct {
	Number     int                     `json:"number"`
	Kind       rundir.RoundKind        `json:"kind"`
	Verdict    Verdict                 `json:"verdict"`
	Reasons    []string                `json:"reasons"`         // why it is inconclusive or failed
	Notes      []string                `json:"notes,omitempty"` // what a reader should know beside it
	Findings   []Finding               `json:"findings"`
	Operations Operations              `json:"operations"`
	RPO        RPO                     `json:"rpo"`
	Slots      map[string]*SlotSummary `json:"slots"`
}

// Result is the verdict on a run.
type Result struct {
	Verdict    Verdict                 `json:"verdict"`
	Reasons    []string                `json:"reasons"`
	Rounds     []RoundResult           `json:"rounds"`
	Operations Operations              `json:"operations"`
	RPO        RPO                     `json:"rpo"`
	Slots      map[string]*SlotSummary `json:"slots"`
}
