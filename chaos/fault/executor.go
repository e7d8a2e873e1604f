package fault

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/topology/wait"
)

const (
	// injectLimit bounds the injection of one fault; a clean stop is the longest.
	injectLimit = 30 * time.Second
	// proveLimit and proveLeast bound the measurement of a fault's effect. A fault that is
	// on for less than proveLimit is measured for as long as it is on, but never less than proveLeast.
	proveLimit = 2500 * time.Millisecond
	proveLeast = time.Second
	// patience is how long after its time a fault is tried again that is not to be missed.
	patience = 10 * time.Second
	// tryPause lies between two such tries.
	tryPause = 100 * time.Millisecond
	// healLimit bounds the end of one fault; starting a node and its recovery is the longest.
	healLimit = 75 * time.Second
)

// Executor runs a plan of faults by the clock. Use one per round. Its methods are
// safe for concurrent use, but Run may be called only once.
//
// Faults on links overlap freely. A node has one node fault at a time: another one that
// comes due meanwhile, and a replication fault that needs the node, is recorded without
// effect and says why; so is every fault whose target is in no state for it.
type Executor struct {
	env    Env
	record func(rundir.Fault)

	recording sync.Mutex // record is called from one goroutine at a time

	mu     sync.Mutex
	active map[int]*running
	busy   map[string]*running // nodes under a node fault
}

// running is a fault that is on.
type running struct {
	plan    rundir.PlannedFault
	fault   Fault
	active  Active // nil after a loss was recorded: it is only shown
	rec     rundir.Fault
	healing bool
}

// NewExecutor prepares an executor. record is called once for each fault when it has
// ended (the loss of a node: when it has happened), from one goroutine at a time.
func NewExecutor(env Env, record func(rundir.Fault)) *Executor {
	return &Executor{
		env:    env.withDefaults(),
		record: record,
		active: map[int]*running{},
		busy:   map[string]*running{},
	}
}

// Run injects each fault of the plan at start+At and heals it For later. It returns when all
// are injected and those with For > 0 healed; what is to stay on (For 0) is left to HealAll.
// If ctx ends first, no more faults are injected and all that are on are healed before Run
// returns. What becomes of a fault is recorded, never returned; the error says that
// the plan does not fit the cluster, and then nothing was injected.
func (x *Executor) Run(ctx context.Context, plan []rundir.PlannedFault, start time.Time) error {
	if err := Validate(x.env.world(), plan); err != nil {
		return err
	}
	var wg sync.WaitGroup
	for _, p := range plan {
		wg.Go(func() { x.one(ctx, p, start) })
	}
	wg.Wait()
	if ctx.Err() != nil {
		// Failures are in the records.
		_ = x.HealAll(context.WithoutCancel(ctx))
	}
	return nil
}

// one lives through one fault of the plan.
func (x *Executor) one(ctx context.Context, p rundir.PlannedFault, start time.Time) {
	at := start.Add(p.At)
	if !x.sleepUntil(ctx, at) {
		return
	}
	var before string
	if f, _ := ByName(p.Name); f.Class() == ForGood && x.env.BeforeLoss != nil {
		if before = x.env.BeforeLoss(ctx); ctx.Err() != nil {
			return
		}
	}
	r := x.await(ctx, p, at, before)
	if r == nil || r.fault.Class() == ForGood || p.For == 0 {
		return
	}
	x.sleepUntil(ctx, at.Add(p.For))
	if x.take(r) {
		// A failure is logged, and HealAll tries again.
		_ = x.heal(ctx, r, false)
	}
}

// sleepUntil waits by the executor's clock; false if ctx ended first.
func (x *Executor) sleepUntil(ctx context.Context, at time.Time) bool {
	return wait.For(ctx, at.Sub(x.env.Clock())) == nil && ctx.Err() == nil
}

// await injects a fault. One on replication that is to stay on (the lag of a loss round, without which its loss proves nothing) waits for a node whose own
// fault ends later than planned. nil if it is not on: then it was recorded.
func (x *Executor) await(ctx context.Context, p rundir.PlannedFault, at time.Time, before string) *running {
	for {
		r, why := x.inject(ctx, p, at, before)
		if why == "" {
			return r
		}
		if r.fault.Class() != OnReplication || p.For > 0 || x.env.Clock().Sub(at) > patience || wait.For(ctx, tryPause) != nil {
			x.withoutEffect(r, why)
			return nil
		}
	}
}

// inject puts a fault on and proves it; before is what there was to say of it already. why says why it is not on; that is
// not recorded yet.
func (x *Executor) inject(ctx context.Context, p rundir.PlannedFault, at time.Time, before string) (_ *running, why string) {
	f, _ := ByName(p.Name) // Run has validated the plan
	r := &running{plan: p, fault: f, rec: rundir.Fault{
		ID: p.ID, Name: p.Name, Target: p.Target, Parameters: p.Parameters,
		PlannedAt: at, StartedAt: x.env.Clock(),
	}}
	log := x.env.Log.With(zap.Int("fault", p.ID), zap.String("name", p.Name), zap.String("target", p.Target))
	if why := x.claim(r); why != "" {
		return r, why
	}
	// Injecting is not left half done when the run is cancelled.
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), injectLimit)
	active, err := f.Inject(limited, x.env, p)
	cancel()
	r.active = active
	var na *NotApplicable
	switch {
	case errors.As(err, &na):
		x.drop(r)
		return r, na.Reason
	case err != nil:
		r.rec.Error = fmt.Sprintf("inject: %v", err)
		if active == nil {
			x.drop(r)
			return r, r.rec.Error
		}
		log.Warn("fault could not be injected", zap.Error(err))
	default:
		log.Info("fault injected", zap.Any("parameters", p.Parameters), zap.Duration("for", p.For))
	}
	limit := proveLimit
	if p.For > 0 {
		limit = max(proveLeast, min(limit, at.Add(p.For).Sub(x.env.Clock())))
	}
	x.prove(ctx, r, limit)
	r.rec.Proof = joinText(r.rec.Proof, before)
	log.Info("fault measured", zap.Bool("effect", r.rec.Effect), zap.String("proof", r.rec.Proof))
	if f.Class() == ForGood {
		r.rec.EndProof = "for good"
		x.write(r.rec)
	}
	x.mu.Lock()
	r.healing = false
	x.mu.Unlock()
	return r, ""
}

// On says whether a fault of the plan is on and was measured.
func (x *Executor) On(id int) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	r := x.active[id]
	return r != nil && !r.healing
}

// claim enters a fault that is about to be injected among the active ones, marked so
// that nobody heals it yet. The text says why it cannot be injected now.
func (x *Executor) claim(r *running) (why string) {
	reach, err := r.fault.Touches(x.env.world(), r.plan.Target, r.plan.Parameters)
	if err != nil {
		return err.Error()
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	class := r.fault.Class()
	if class == OnNode || class == OnReplication {
		for _, n := range reach.Needs {
			if other := x.busy[n]; other != nil {
				return fmt.Sprintf("%s is under %s (fault %d)", n, other.plan.Name, other.plan.ID)
			}
		}
	}
	if class == OnNode {
		for _, n := range reach.Nodes {
			x.busy[n] = r
		}
	}
	r.healing = true
	x.active[r.plan.ID] = r
	return ""
}

// drop takes a fault out of the active ones.
func (x *Executor) drop(r *running) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.active, r.plan.ID)
	for n, owner := range x.busy {
		if owner == r {
			delete(x.busy, n)
		}
	}
}

// take claims an active fault for healing; false if somebody else has.
func (x *Executor) take(r *running) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if r.healing || x.active[r.plan.ID] != r {
		return false
	}
	r.healing = true
	return true
}

func (x *Executor) prove(ctx context.Context, r *running, limit time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	effect, proof, err := r.active.Prove(ctx)
	if err != nil {
		proof = fmt.Sprintf("could not be measured: %v", err)
	}
	r.rec.Effect, r.rec.Proof = effect && err == nil, proof
}

// heal ends a fault that was taken. If that fails and it is not the last try, it goes back among
// the active ones.
func (x *Executor) heal(ctx context.Context, r *running, last bool) error {
	log := x.env.Log.With(zap.Int("fault", r.plan.ID), zap.String("name", r.plan.Name), zap.String("target", r.plan.Target))
	fresh := context.WithoutCancel(ctx)
	if !r.rec.Effect && ctx.Err() == nil {
		// It may have had its effect since: a cut waits for traffic.
		x.prove(fresh, r, proveLeast)
	}
	limited, cancel := context.WithTimeout(fresh, healLimit)
	defer cancel()
	proof, err := r.active.Heal(limited)
	r.rec.EndProof = proof
	if err != nil {
		err = fmt.Errorf("heal %s on %s: %w", r.plan.Name, r.plan.Target, err)
		log.Warn("fault could not be healed", zap.Error(err))
		if !last {
			x.mu.Lock()
			r.healing = false
			x.mu.Unlock()
			return err
		}
		r.rec.Error = joinText(r.rec.Error, err.Error())
	} else {
		log.Info("fault healed", zap.String("proof", proof))
		r.rec.EndedAt = x.env.Clock()
	}
	x.drop(r)
	x.write(r.rec)
	return err
}

// HealAll heals every fault that is on: links, then nodes, then replication, then clocks, in
// parallel within each. Each has its own limit; the end of ctx does not stop it, for what
// is broken must not stay so. It waits for no fault that is just being injected or healed:
// call it after Run returned. The error joins what could not be healed, as recorded.
func (x *Executor) HealAll(ctx context.Context) error {
	var errs []error
	for _, class := range []Class{OnLink, OnNode, OnReplication, OnClock} {
		var wg sync.WaitGroup
		var mu sync.Mutex
		for _, r := range x.of(class) {
			if !x.take(r) {
				continue
			}
			wg.Go(func() {
				if err := x.heal(ctx, r, true); err != nil {
					mu.Lock()
					errs = append(errs, err)
					mu.Unlock()
				}
			})
		}
		wg.Wait()
	}
	return errors.Join(errs...)
}

// of lists the active faults of a class, by id.
func (x *Executor) of(class Class) []*running {
	x.mu.Lock()
	defer x.mu.Unlock()
	var rs []*running
	for _, r := range x.active {
		if r.fault.Class() == class {
			rs = append(rs, r)
		}
	}
	slices.SortFunc(rs, func(a, b *running) int { return a.plan.ID - b.plan.ID })
	return rs
}

// Active names the faults that are on, "name target", in the order of the plan, for a live
// display. A lost node is among them until the end.
func (x *Executor) Active() []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	ids := make([]int, 0, len(x.active))
	for id := range x.active {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = x.active[id].plan.Name + " " + x.active[id].plan.Target
	}
	return names
}

// withoutEffect records a fault that was not injected, and why.
func (x *Executor) withoutEffect(r *running, why string) {
	level := zap.InfoLevel
	if r.rec.Error != "" {
		level = zap.WarnLevel
	}
	x.env.Log.Log(level, "fault not injected", zap.Int("fault", r.plan.ID), zap.String("name", r.plan.Name), zap.String("target", r.plan.Target), zap.String("why", why))
	r.rec.Proof = "not injected: " + why
	r.rec.EndedAt = x.env.Clock()
	x.write(r.rec)
}

func (x *Executor) write(rec rundir.Fault) {
	x.recording.Lock()
	defer x.recording.Unlock()
	x.record(rec)
}

func joinText(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "; " + b
}
