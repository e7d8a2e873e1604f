package rescue

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/spockchaos/spockchaos/topology/mesh"
)

// Plan is what a rescue would do. Making one changes nothing.
type Plan struct {
	Failed    string     `json:"failed"`
	Engine    string     `json:"engine"`
	Survivors []Survivor `json:"survivors"`
	Source    string     `json:"source"`  // "" if no survivor subscribes to the failed node
	Targets   []Target   `json:"targets"` // rescued in this order
	// Stays are survivors that lack something and are no targets: the failed node stays on all survivors for their sake.
	Stays []string `json:"stays"`
	// Remove are the survivors from which the failed node is removed at the end.
	Remove []string `json:"remove"`
	// Alive are signs that the failed node lives: what it takes from now on would be lost, so no rescue is made. None is looked for where it is fenced.
	Alive    []string `json:"signs_of_life"`
	Problems []string `json:"problems"` // each keeps the rescue from being made
	Notes    []string `json:"notes"`
}

// Survivor is what a plan says of one.
type Survivor struct {
	Standing
	Subscribes    bool   `json:"subscribes"` // to the failed node
	RetainedBytes int64  `json:"retained_bytes"`
	HeldBy        string `json:"held_by"` // what kept its slot at the last advance
	// Rescued says what became of the latest rescue of it: "done: 40 transactions from n2". "" if there was none.
	Rescued string `json:"rescued"`
}

// Target is one CALL of a plan.
type Target struct {
	Node        string   `json:"node"`
	Source      string   `json:"source"`
	Coordinator string   `json:"coordinator"`
	Missing     *Missing `json:"missing"` // nil: it could not be counted, a problem says why
	Checks      []Check  `json:"checks"`

	sourceDSN, targetDSN string
}

// Check is a row of spock.recover_precheck.
type Check struct {
	Name   string `json:"name"`
	Status string `json:"status"` // ok, warning or error
	Detail string `json:"detail"`
}

// MayLive is the error of a rescue from the loss of a node that shows signs of life.
func MayLive(failed string, signs []string) error {
	return &UsageError{fmt.Errorf("%s may still live: %s.\nWrites that it takes from now on would be lost: stop it for good first, or cut it off and say --failed-is-fenced",
		failed, strings.Join(signs, "; "))}
}

// Nothing says that there is nothing to do.
func (p Plan) Nothing() bool {
	return len(p.Targets) == 0 && len(p.Remove) == 0
}

func (p *Plan) problem(format string, args ...any) {
	p.Problems = append(p.Problems, fmt.Sprintf(format, args...))
}

func (p *Plan) note(format string, args ...any) {
	p.Notes = append(p.Notes, fmt.Sprintf(format, args...))
}

// Plan looks at the survivors again and says what is to be done.
func (r *Rescue) Plan(ctx context.Context) (Plan, error) {
	if err := r.read(ctx); err != nil {
		return Plan{}, err
	}
	p := Plan{Failed: r.opts.Failed, Engine: r.engine.Name(), Targets: []Target{}, Stays: []string{}, Remove: []string{}, Alive: []string{}, Problems: []string{}, Notes: slices.Clone(r.notes)}
	if p.Notes == nil {
		p.Notes = []string{} // a list in JSON, too
	}
	known := false
	for _, s := range r.survivors {
		p.Survivors = append(p.Survivors, s.describe())
		known = known || s.knows
	}
	if !known {
		return p, &UsageError{fmt.Errorf("no survivor knows a node %s, or has ever heard of it", p.Failed)}
	}
	source, targets := r.roles()
	for _, s := range r.survivors {
		if names := s.suspended(); len(names) > 0 && !s.subscribes {
			p.note("an earlier rescue left subscriptions of %s suspended, to %s: SELECT spock.recovery_resume('%s') there", s.Name, strings.Join(names, ", "), p.Failed)
		}
	}
	if source == nil {
		return p, nil // it is gone from all of them
	}
	p.Source = source.Name
	r.outsiders(&p)
	if !r.opts.Fenced {
		p.Alive = append(p.Alive, r.alive(ctx)...)
	}
	for _, s := range r.survivors {
		if s.subscribes && s.Progress > source.Progress {
			p.problem("%s has more of %s than %s, up to %s: rescue from it first", s.Name, p.Failed, source.Name, s.Progress)
		}
	}
	if err := r.planTargets(ctx, &p, source, targets); err != nil {
		return p, err
	}
	for _, s := range r.survivors {
		if s.subscribes && s.Progress < source.Progress && !slices.Contains(targets, s) {
			p.Stays = append(p.Stays, s.Name)
		}
	}
	if len(p.Stays) > 0 {
		p.note("%s stays on the survivors, disabled, until %s rescued too", p.Failed, isOrAre(p.Stays))
		return p, ctx.Err()
	}
	for _, s := range r.survivors {
		if s.subscribes {
			p.Remove = append(p.Remove, s.Name)
		}
	}
	return p, ctx.Err()
}

func isOrAre(names []string) string {
	if len(names) == 1 {
		return names[0] + " is"
	}
	return strings.Join(names, ", ") + " are"
}

func (s *survivor) describe() Survivor {
	d := Survivor{Standing: s.Standing, Subscribes: s.subscribes, RetainedBytes: s.retained, HeldBy: s.heldBy}
	if s.run != nil {
		d.Rescued = fmt.Sprintf("%s: %d transactions from %s", s.run.Step, s.run.Transactions, s.run.Source)
	}
	return d
}

// roles are the source and the targets among the survivors as they were read last: those that were named, or chosen. No source: no
// survivor subscribes to the failed node.
func (r *Rescue) roles() (source *survivor, targets []*survivor) {
	var in []*survivor
	var standings []Standing
	for _, s := range r.survivors {
		if s.subscribes {
			in = append(in, s)
			standings = append(standings, s.Standing)
		}
	}
	if len(in) == 0 {
		return nil, nil
	}
	from, to := Choose(standings)
	source = in[from]
	if named := r.survivor(r.opts.Source); named != nil {
		source, to = named, nil
		for i, s := range in { // who has more than the source that was named cannot be its target; the checks of a rescue say so
			if s != source && (s.Progress < source.Progress || s.Unfinished) {
				to = append(to, i)
			}
		}
	}
	for _, i := range to {
		if len(r.opts.Targets) == 0 || slices.Contains(r.opts.Targets, in[i].Name) {
			targets = append(targets, in[i])
		}
	}
	return source, targets
}

// outsiders notes nodes that count and were not named.
func (r *Rescue) outsiders(p *Plan) {
	var unknown []string
	for _, s := range r.survivors {
		for name := range s.peers {
			if name != p.Failed && r.survivor(name) == nil && !slices.Contains(unknown, name) {
				unknown = append(unknown, name)
			}
		}
		if !s.subscribes && (s.run == nil || s.run.Step != "done") {
			p.note("%s has no subscription to %s: what it has is not known", s.Name, p.Failed)
		}
	}
	slices.Sort(unknown)
	for _, name := range unknown {
		p.note("survivors subscribe to %s, which was not named: it may have more of %s, and %s is not removed while it lags or does not answer", name, p.Failed, p.Failed)
	}
	for _, t := range r.opts.Targets {
		if s := r.survivor(t); s != nil && s.subscribes && !s.Unfinished && s.Progress >= r.survivor(p.Source).Progress {
			p.note("%s lacks nothing", t)
		}
	}
}

// planTargets finds for each target how the servers reach each other, what it lacks and what the procedures' own checks say.
func (r *Rescue) planTargets(ctx context.Context, p *Plan, source *survivor, targets []*survivor) error {
	for _, s := range targets {
		t := Target{Node: s.Name, Source: source.Name, Coordinator: s.Name, Checks: []Check{}}
		if r.opts.Coordinator != "" {
			t.Coordinator = r.opts.Coordinator
		}
		if err := r.planCall(ctx, p, &t, source, s); err != nil {
			return err
		}
		p.Targets = append(p.Targets, t)
	}
	if len(targets) == 0 {
		return nil
	}
	if source.SlotStatus == "" || source.SlotStatus == "lost" || source.freeSlots < 1 {
		return nil // the checks say so
	}
	missing, err := r.count(ctx, source, targets)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		p.problem("%v", err)
		return nil
	}
	for i := range missing {
		p.Targets[i].Missing = &missing[i]
	}
	return nil
}

// planCall finds out how one CALL is made.
func (r *Rescue) planCall(ctx context.Context, p *Plan, t *Target, source, target *survivor) error {
	at := r.survivor(t.Coordinator)
	var err error
	from := []*survivor{target}
	if at != target {
		from = append(from, at)
	}
	if t.sourceDSN, err = r.reach(ctx, source, from...); err == nil {
		t.targetDSN, err = r.reach(ctx, target, at)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		p.problem("%s from %s: %v", t.Node, t.Source, err)
		return nil
	}
	err = at.Do(ctx, func(c *pgx.Conn) error {
		rows, err := c.Query(ctx, `SELECT check_name, status, detail FROM spock.recover_precheck($1, $2, $3, $4, $5)`, p.Failed, t.Source, t.sourceDSN, t.Node, t.targetDSN)
		if err != nil {
			return err
		}
		t.Checks, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) (k Check, err error) {
			var detail *string
			err = r.Scan(&k.Name, &k.Status, &detail)
			if detail != nil {
				k.Detail = *detail
			}
			return k, err
		})
		return err
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		p.problem("%s from %s: the checks could not be made: %s", t.Node, t.Source, mesh.Reason(err))
		return nil
	}
	for _, k := range t.Checks {
		if k.Status == "error" {
			p.problem("%s from %s: %s: %s", t.Node, t.Source, k.Name, k.Detail)
		}
	}
	return nil
}
