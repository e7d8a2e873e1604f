package chaos

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/spockchaos/spockchaos/checker"
	"github.com/spockchaos/spockchaos/checker/rundir"
)

// Config is what a run is asked to do. cmd fills and validates it.
type Config struct {
	Duration time.Duration // rounds are begun until it is spent; at least one is run
	Seed     uint64
	Nodes    int
	Engine   string // "pglogical"
	Topology string // "local", "docker" or "compose"
	PGBin    string // directory of the PostgreSQL binaries; "" finds one
	PGVer    string // major version wanted, "" is any
	Image    string // of the nodes, in containers; "" is the engine's own
	// VolumeSize is the size of each node's volume in bytes, in containers; 0 is no limit.
	VolumeSize int64
	// ComposeFile is the file of the cluster that compose brought up, whose nodes and engine Nodes and Engine must be.
	ComposeFile string
	// AllowUserTables takes a cluster of compose's whose databases hold tables of somebody else's.
	AllowUserTables bool
	Workloads       []string
	Sessions        int
	Rate            float64  // operations a second over all sessions; 0 is no cap
	Faults          []string // names of the faults that may be drawn
	// Implied are those of Faults that came with a workload and not by their names: where the cluster cannot have one it is left out.
	Implied []string
	Chaos   time.Duration // length of the chaos phase of a round
	Rounds  string        // "fresh": each round on a fresh copy of the wired cluster
	// RecoverySQL is a file that is loaded after sql/, "" for none.
	RecoverySQL string
	// Tracking is who makes and advances the recovery slots: TrackingSQL, which "" is as well, or TrackingNative.
	Tracking string
	// Rescue is the strategy that brings survivors level, as ParseStrategy reads it; "" is that of sql/.
	Rescue string
	Dir    string // the run directory; must be empty or not exist
	Keep   bool   // leave the cluster up at the end
	// ClockSkew makes nodes whose clocks can be skewed, where the topology is local. Run decides it.
	ClockSkew     bool
	ManagerPeriod time.Duration
	// Replay is a run directory whose schedules are run again, "" for none.
	Replay string
	// Effective is the configuration by flag name, as it is written into run.json.
	Effective map[string]any
}

// Deps is what a run is given from outside.
type Deps struct {
	Log     *zap.Logger
	Clock   func() time.Time
	Version string // of this program
	// WatchdogCommand starts a watchdog in a process of its own: argv.
	WatchdogCommand []string
	// Executable is this program's file: containers run it to hold the links.
	Executable string
	// Environ ("KEY=value") is what variables in a compose file stand for.
	Environ []string
	// Begun is called when the cluster is up: all that the user named was found. Its error ends the run. nil for none.
	Begun func() error
	// Status is called a few times a second, from one goroutine; nil for none.
	Status func(Status)
	// RoundDone is called in a round's check phase, when its files are complete: cmd saves
	// a report and then checks the round. nil for none.
	RoundDone func(ctx context.Context, number int)
}

// Status is the state of a run for a live display.
type Status struct {
	Elapsed, Total  time.Duration
	Round           int
	Kind            rundir.RoundKind
	Phase           string
	Faults          []string // now on, "name target"
	WritesPerSecond float64
	Operations      checker.Operations // so far, of this round
	Nodes           []NodeStatus
}

// NodeStatus is one node's line of the live display.
type NodeStatus struct {
	Name     string
	Up       bool
	LagBytes int64 // WAL that the slowest peer's progress for this node is behind
	Position rundir.LSN
	Retained int64
}

// UsageError is a reason why a run could not be begun that its user can mend:
// exit status 2. Its message is one to three lines and names the thing.
type UsageError struct{ Err error }

func (e *UsageError) Error() string { return e.Err.Error() }
func (e *UsageError) Unwrap() error { return e.Err }
