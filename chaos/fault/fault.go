package fault

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/spockchaos/spockchaos/checker/rundir"
)

// Class says what a fault breaks, and in which order faults are healed: links
// first, because a node that stops cleanly waits for its peers; then nodes; then
// what needs nodes that answer.
type Class int

const (
	// OnLink faults hold, delay or cut bytes. They compose freely.
	OnLink Class = iota
	// OnNode faults take a node out of service. One at a time per node.
	OnNode
	// OnReplication faults act on a server from within and need it to be up.
	OnReplication
	// OnClock faults change what a node's clock says and leave everything in service. They go beside any other,
	// but for a second one on the same node.
	OnClock
	// ForGood is the loss of a node: it has no end.
	ForGood
)

func (c Class) String() string {
	return [...]string{"link", "node", "replication", "clock", "for good"}[c]
}

// Params are a fault's parameters. Values are of the types that JSON knows (float64,
// string, bool), so that a plan read back from a file equals the plan that was drawn.
type Params = map[string]any

// World is the cluster that a fault is drawn for.
type World struct {
	Nodes []string
}

// Reach is what a fault disturbs.
type Reach struct {
	Links []string // by link name, "n2>n1"
	Nodes []string // whose service or WAL it disturbs
	Needs []string // nodes that must answer for it to be injected
}

// Span is how long a fault may be on.
type Span struct{ Min, Max time.Duration }

// Fault is one way to break something. Implementations hold no state.
type Fault interface {
	// Name is what --faults and reports call it.
	Name() string
	// Describe is the fault in one line, for `spockchaos faults`.
	Describe() string
	Class() Class
	// Span bounds the time that the schedule keeps it on.
	Span() Span
	// Containers says that only nodes in containers can have it.
	Containers() bool
	// Local says that only nodes that are processes of this machine can have it.
	Local() bool
	// With is the workload without which it is drawn only where it is named, "" if all faults include it anyway.
	With() string
	// Draw takes a target and parameters from r, for any cluster of at least two nodes.
	Draw(r *rand.Rand, w World) (target string, params Params)
	// Touches says what it disturbs; an error names what is wrong with target or params.
	Touches(w World, target string, params Params) (Reach, error)
	// Inject puts it on and returns at once, not waiting for the effect. f is one that Touches accepts. A *NotApplicable
	// error says that its target is in no state for it. With any other error the Active
	// may be non-nil: then something was begun that must be healed.
	Inject(ctx context.Context, env Env, f rundir.PlannedFault) (Active, error)
}

// Active is a fault that is on.
type Active interface {
	// Prove measures whether it took effect and says what was measured. It may be called
	// again while the fault is on and returns early when ctx ends, with effect false if
	// nothing was shown by then. err says why nothing could be measured.
	Prove(ctx context.Context) (effect bool, proof string, err error)
	// Heal ends it, waits until its end shows, and says what was measured. After an error it
	// may be called again.
	Heal(ctx context.Context) (endProof string, err error)
}

// NotApplicable is why a fault was not injected although nothing went wrong: its
// target was not in a state for it (a killed node has no walsender to terminate).
type NotApplicable struct{ Reason string }

func (e *NotApplicable) Error() string { return e.Reason }

func notApplicable(format string, args ...any) error {
	return &NotApplicable{Reason: fmt.Sprintf(format, args...)}
}

// meta is what a fault says of itself.
type meta struct {
	name     string
	describe string
	class    Class
	span     Span
	// containers: only nodes in containers can have it.
	containers bool
	// local: only nodes that are processes can have it.
	local bool
	// with: the workload that it is for.
	with string
}

func (m meta) Name() string     { return m.name }
func (m meta) Describe() string { return m.describe }
func (m meta) Class() Class     { return m.class }
func (m meta) Span() Span       { return m.span }
func (m meta) Containers() bool { return m.containers }
func (m meta) Local() bool      { return m.local }
func (m meta) With() string     { return m.with }
