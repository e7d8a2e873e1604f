package scenario

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/spockchaos/spockchaos/chaos"
	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/topology"
	"github.com/spockchaos/spockchaos/topology/engine"
)

// The parts that the nodes play. With more than three nodes the others are survivors that lack nothing.
const (
	failed      = "n1"
	source      = "n2"
	target      = "n3"
	coordinator = "n2"
)

// MinNodes is the smallest cluster that has a failed node, a source and a target.
const MinNodes = 3

// seed decides where each node's WAL begins: n2's before n1's, n3's behind it. A procedure that compares positions
// of different nodes, which mean nothing to each other, then errs whichever way it does it.
const seed = 4

// defaultPeriod is how often each node's recovery slot is advanced.
const defaultPeriod = 500 * time.Millisecond

// closeLimit bounds the end: stopping every process and link.
const closeLimit = time.Minute

// Config says on what cluster the scenario runs; the fields are those of chaos.Config.
type Config struct {
	Nodes       int
	Engine      string
	Topology    string
	PGBin       string
	PGVer       string
	Image       string
	RecoverySQL string
}

// Status of a step.
type Status string

// What can become of a step.
const (
	Passed Status = "passed"
	Failed Status = "failed"
	NotRun Status = "not run" // one before it failed
)

// Step is one step with what it showed.
type Step struct {
	Number   int      `json:"number"`
	Title    string   `json:"title"`
	Status   Status   `json:"status"`
	Seconds  float64  `json:"seconds"`
	Evidence []Fact   `json:"evidence"`
	Problems []string `json:"problems"` // why it failed
	Notes    []string `json:"notes"`    // what the harness had to do that the engine should have done
	Details  []string `json:"details"`
}

// Fact is one piece of evidence: a value for programs and a text for people.
type Fact struct {
	Name  string `json:"name"`
	Value any    `json:"value"`
	Text  string `json:"text"`
}

// Result is the whole scenario.
type Result struct {
	Passed      bool    `json:"passed"`
	Seconds     float64 `json:"seconds"`
	Nodes       int     `json:"nodes"`
	Topology    string  `json:"topology"`
	Postgres    string  `json:"postgres"`
	Engine      string  `json:"engine"`
	RecoverySQL string  `json:"recovery_sql,omitempty"`
	Steps       []Step  `json:"steps"`
}

// limits bound the waits of the steps; none is a fixed sleep.
type limits struct {
	setup   time.Duration // until the cluster is wired
	sync    time.Duration // until written rows are where they should be
	advance time.Duration // until the recovery slots are level, and for a few calls of a manager
	crash   time.Duration // until the lost node is gone and the survivors are cut off from it
	call    time.Duration // for one CALL
	equal   time.Duration // until the survivors agree after the rescue
}

func defaultLimits() limits {
	return limits{
		setup: 3 * time.Minute, sync: 30 * time.Second, advance: 15 * time.Second, crash: 30 * time.Second,
		call: 60 * time.Second, equal: 30 * time.Second,
	}
}

// scene is the cluster and what was done to it so far. The steps run one after the other and
// own it; only woken is called from elsewhere.
type scene struct {
	cfg     Config
	deps    chaos.Deps
	limits  limits
	period  time.Duration // of the managers
	large   int           // rows of the large transaction
	extra   chaos.RecoverySQL
	cluster topology.Cluster
	engine  engine.Engine
	version string               // of the engine, with its name
	conns   map[string]*pgx.Conn // kept, by node
	crew    map[string]*crew     // managers, by node

	written  []written // every transaction that was acknowledged, in order
	first    int       // the number of the failed node's first transaction that the target lacks
	before   position  // in the source's WAL: it had none of those yet
	advances int64     // calls of the source's manager when the source had all of them
	lacking  []decoded // what the source had of the failed node and the target lacked, at the loss
	claimed  *int64    // transactions that the rescue says it replayed, nil if it says nothing

	mu    sync.Mutex
	wakes []string
}

// position is a place in one node's WAL.
type position = rundir.LSN

// step is a step to be run.
type step struct {
	title string
	do    func(context.Context, *evidence) error
}

// steps are the seed's nine.
func (s *scene) steps() []step {
	return []step{
		{fmt.Sprintf("Create a cluster of %d nodes", s.cfg.Nodes), s.create},
		{"Insert baseline data, verify sync", s.baseline},
		{"Disable n3's subscription from n1", s.disable},
		{"Insert new data on n1", s.insert},
		{"n2 receives the data, n3 lags", s.lag},
		{"Recovery slot on n2 preserves the WAL", s.preserve},
		{"n1 crashes for good", s.crash},
		{"CALL spock.recovery: rescue n3 from n2", s.rescue},
		{"n3 has caught up, exactly once", s.verify},
	}
}

// Run runs the scenario on a cluster of its own and tells each step when it is done. The error says why
// it could not be run or was broken off: what a step found is in the result. A
// *chaos.UsageError is the user's to mend.
func Run(ctx context.Context, cfg Config, deps chaos.Deps, report func(Step)) (res Result, err error) {
	if cfg.Nodes < MinNodes {
		return Result{}, &chaos.UsageError{Err: fmt.Errorf("the scenario needs %d nodes or more, not %d: one to lose, one that has its writes, one that lacks them", MinNodes, cfg.Nodes)}
	}
	extra, err := chaos.ReadRecoverySQL(cfg.RecoverySQL)
	if err != nil {
		return Result{}, err
	}
	s := newScene(cfg, deps, extra)
	defer func() { err = errors.Join(err, s.close()) }()
	return s.run(ctx, s.steps(), report)
}

func newScene(cfg Config, deps chaos.Deps, extra chaos.RecoverySQL) *scene {
	return &scene{
		cfg: cfg, deps: deps, limits: defaultLimits(), period: defaultPeriod, large: defaultLarge, extra: extra,
		conns: map[string]*pgx.Conn{}, crew: map[string]*crew{},
	}
}

// run runs steps until one fails. The first makes the cluster: without it there is nothing to judge, so its failure is an error.
func (s *scene) run(ctx context.Context, steps []step, report func(Step)) (Result, error) {
	began := s.deps.Clock()
	res := Result{Passed: true, Nodes: s.cfg.Nodes, Topology: s.cfg.Topology, RecoverySQL: s.cfg.RecoverySQL}
	for i, st := range steps {
		// Lists that are not nil are lists in JSON, too.
		one := Step{Number: i + 1, Title: st.title, Status: NotRun, Evidence: []Fact{}, Problems: []string{}, Notes: []string{}, Details: []string{}}
		if res.Passed {
			var err error
			one, err = s.runStep(ctx, one, st.do)
			switch {
			case ctx.Err() != nil:
				return res, fmt.Errorf("interrupted in step %d (%s)", one.Number, one.Title)
			case err != nil && i == 0:
				return res, err
			}
			res.Passed = one.Status == Passed
		}
		res.Steps = append(res.Steps, one)
		report(one)
	}
	res.Seconds = s.deps.Clock().Sub(began).Seconds()
	if s.cluster != nil {
		res.Postgres, res.Engine = s.cluster.Version(), s.version
	}
	return res, nil
}

// runStep runs one step: it passes if it ended without error, found no problem and has something to show.
func (s *scene) runStep(ctx context.Context, one Step, do func(context.Context, *evidence) error) (Step, error) {
	began := s.deps.Clock()
	var e evidence
	err := do(ctx, &e)
	one.Seconds = s.deps.Clock().Sub(began).Seconds()
	one.Evidence, one.Problems, one.Details = append(one.Evidence, e.facts...), append(one.Problems, e.problems...), append(one.Details, e.details...)
	s.mu.Lock()
	one.Notes, s.wakes = append(one.Notes, s.wakes...), nil
	s.mu.Unlock()
	switch {
	case err != nil:
		one.Problems = append(one.Problems, err.Error())
	case len(one.Problems) == 0 && len(one.Evidence) == 0:
		one.Problems = append(one.Problems, "it has nothing to show")
	}
	one.Status = Passed
	if len(one.Problems) > 0 {
		one.Status = Failed
	}
	return one, err
}

// close ends everything, however it was left.
func (s *scene) close() error {
	for _, c := range s.crew {
		c.stop()
	}
	for _, c := range s.conns {
		engine.HangUp(c)
	}
	if s.cluster == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeLimit)
	defer cancel()
	return s.cluster.Close(ctx)
}

// survivors are all nodes but the failed one.
func (s *scene) survivors() []string {
	var names []string
	for _, n := range s.cluster.Nodes() {
		if n.Name() != failed {
			names = append(names, n.Name())
		}
	}
	return names
}

// level are the survivors that lack nothing: all but the target.
func (s *scene) level() []string {
	var names []string
	for _, n := range s.survivors() {
		if n != target {
			names = append(names, n)
		}
	}
	return names
}

// names of all nodes.
func (s *scene) names() []string { return append([]string{failed}, s.survivors()...) }
