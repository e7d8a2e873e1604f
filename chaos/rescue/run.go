package rescue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/topology/wait"
)

// Result is what a rescue came to.
type Result struct {
	// OK: every target is level, the failed node is gone where the plan said so, and nothing was left behind.
	OK      bool      `json:"ok"`
	Calls   []Outcome `json:"calls"`
	Removed []string  `json:"removed"` // survivors that no longer subscribe to the failed node, and did
	Wrong   []string  `json:"wrong"`   // what is not as it should be
	Notes   []string  `json:"notes"`
	Seconds float64   `json:"seconds"`
}

// Outcome is what one CALL came to.
type Outcome struct {
	Node         string     `json:"node"`
	Source       string     `json:"source"`
	Level        bool       `json:"level"`
	Transactions int64      `json:"transactions"`
	Rows         int64      `json:"rows"`
	Kept         int64      `json:"kept"` // changes that lost to a newer row
	Progress     rundir.LSN `json:"progress"`
	Seconds      float64    `json:"seconds"`
	Error        string     `json:"error,omitempty"`
	Log          []string   `json:"log"`
}

// Report is told what happens while a rescue runs, from one goroutine.
type Report struct {
	Step   func(text string)
	Notice func(severity, text string) // of the procedures
	Call   func(Outcome)               // when a CALL has ended
}

// Run carries a plan out. The error is for what was not even begun, or when ctx is done: calling it all again goes on where this was.
func (r *Rescue) Run(ctx context.Context, p Plan, report Report) (res Result, err error) {
	if len(p.Problems) > 0 {
		return res, &UsageError{errors.New(p.Problems[0])}
	}
	began := time.Now()
	res = Result{Calls: []Outcome{}, Removed: []string{}, Wrong: []string{}, Notes: []string{}}
	defer func() { res.Seconds = time.Since(began).Seconds() }()
	before := map[string]bool{} // who subscribed, and what was out of order before
	for _, s := range r.survivors {
		if s.subscribes {
			before[s.Name] = true
		}
		for _, l := range s.left {
			before[l.Node+" "+l.What+" "+l.Name] = true
		}
	}
	if err := r.settle(ctx, p, report); err != nil {
		return res, err
	}
	for _, t := range p.Targets {
		out := r.call(ctx, p, t, report)
		res.Calls = append(res.Calls, out)
		report.Call(out)
		if ctx.Err() != nil {
			return res, r.interrupted(ctx, t)
		}
	}
	if err := r.read(ctx); err != nil {
		return res, err
	}
	for i := range res.Calls {
		r.judge(&res, &res.Calls[i])
	}
	if len(res.Wrong) == 0 && len(p.Stays) == 0 {
		if err := r.remove(ctx, p, &res, report); err != nil {
			return res, err
		}
	}
	if err := r.awaitEnds(ctx, before); err != nil {
		return res, err
	}
	for _, s := range r.survivors {
		if before[s.Name] && !s.subscribes {
			res.Removed = append(res.Removed, s.Name)
		}
	}
	r.inspect(p, before, &res)
	res.OK = len(res.Wrong) == 0
	return res, ctx.Err()
}

// settle stops every survivor from listening to the failed node, so that what each of them has is final, and makes sure that the plan still fits.
func (r *Rescue) settle(ctx context.Context, p Plan, report Report) error {
	if !r.opts.Fenced {
		if signs := r.alive(ctx); len(signs) > 0 {
			return MayLive(p.Failed, signs)
		}
	}
	var stopped []string
	for _, s := range r.survivors {
		if !s.subscribes {
			continue
		}
		limited, cancel := context.WithTimeout(ctx, stopLimit)
		err := s.Do(limited, func(c *pgx.Conn) error { return r.engine.Disable(limited, c, p.Failed) })
		cancel()
		if err != nil {
			return fmt.Errorf("stop listening to %s on %w", p.Failed, err)
		}
		stopped = append(stopped, s.Name)
	}
	report.Step(fmt.Sprintf("%s stopped listening to %s", strings.Join(stopped, ", "), p.Failed))
	if err := r.read(ctx); err != nil {
		return err
	}
	source, targets := r.roles()
	var names, planned []string
	for _, t := range targets {
		names = append(names, t.Name)
	}
	for _, t := range p.Targets {
		planned = append(planned, t.Node)
	}
	if source == nil || source.Name != p.Source || !slices.Equal(names, planned) {
		return errors.New("the survivors have come further since the plan was made: call it again for a new one")
	}
	return nil
}

// call makes one CALL and reads what the target says of it.
func (r *Rescue) call(ctx context.Context, p Plan, t Target, report Report) Outcome {
	out := Outcome{Node: t.Node, Source: t.Source, Log: []string{}}
	began := time.Now()
	err := Call{
		Coordinator: t.Coordinator, CoordinatorDSN: r.survivor(t.Coordinator).DSN, Failed: p.Failed,
		Source: t.Source, SourceDSN: t.sourceDSN, Target: t.Node, TargetDSN: t.targetDSN, Grace: graceLimit,
	}.Do(ctx, func(n *pgconn.Notice) {
		out.Log = append(out.Log, n.Severity+": "+n.Message)
		report.Notice(n.SeverityUnlocalized, n.Message)
	})
	out.Seconds = time.Since(began).Seconds()
	if err != nil {
		out.Error = err.Error()
		return out
	}
	target := r.survivor(t.Node)
	limited, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	if err := target.Do(limited, func(c *pgx.Conn) error { return target.readRun(limited, c, p.Failed) }); err != nil {
		out.Error = err.Error()
		return out
	}
	if l := target.run; l != nil {
		out.Transactions, out.Rows, out.Kept, out.Progress = l.Transactions, l.Rows, l.Kept, l.After
		out.Level = l.Step == "done" || l.Step == "replayed" && l.After >= l.SourceHas
	}
	return out
}

// judge says what is wrong with a target after its CALL. Where the failed node is still known, the survivors' own progress counts.
func (r *Rescue) judge(res *Result, out *Outcome) {
	source, target := r.survivor(out.Source), r.survivor(out.Node)
	if target.subscribes && source.subscribes && target.Progress < source.Progress {
		out.Level = false
	}
	switch {
	case out.Error != "":
		res.Wrong = append(res.Wrong, fmt.Sprintf("%s was not rescued: %s", out.Node, out.Error))
	case !out.Level:
		res.Wrong = append(res.Wrong, fmt.Sprintf("%s is not level: it has up to %s, %s has up to %s", out.Node, target.Progress, source.Name, source.Progress))
	}
}

// remove removes the failed node from the survivors that still know it, the source last. The CALL does that itself, over the servers' own
// connections; this is for when those do not reach each other, and when there was nothing to CALL for. Nobody may lack anything any more.
func (r *Rescue) remove(ctx context.Context, p Plan, res *Result, report Report) error {
	var left []*survivor
	for _, s := range r.survivors {
		if s.subscribes && s.Name != p.Source {
			left = append(left, s)
		}
	}
	source := r.survivor(p.Source)
	if source.subscribes {
		left = append(left, source)
	}
	if len(left) == 0 {
		return nil
	}
	for _, s := range r.survivors {
		for name, peer := range s.peers {
			if name == p.Failed || r.survivor(name) != nil {
				continue
			}
			res.Wrong = append(res.Wrong, fmt.Sprintf("%s is not removed: %s subscribes to %s, which was not named (%s)", p.Failed, s.Name, name, r.about(ctx, s, peer)))
			return nil
		}
	}
	for _, s := range left {
		for _, other := range left {
			if s.Progress < other.Progress {
				res.Wrong = append(res.Wrong, fmt.Sprintf("%s is not removed: %s lacks some of what %s has", p.Failed, s.Name, other.Name))
				return nil
			}
		}
	}
	for _, s := range left {
		if err := r.removeFrom(ctx, s, p.Failed); err != nil {
			if ctx.Err() != nil {
				return err
			}
			res.Wrong = append(res.Wrong, fmt.Sprintf("%s is not removed from %v", p.Failed, err))
			break
		}
		report.Step(fmt.Sprintf("%s removed from %s", p.Failed, s.Name))
	}
	return r.read(ctx)
}

// about says whether a node that was not named answers its subscriber.
func (r *Rescue) about(ctx context.Context, s *survivor, p peer) string {
	if _, err := s.ask(ctx, p.dsn, `SELECT 1`); err != nil {
		return "it does not answer"
	}
	return "name it as well"
}

// removeFrom is what spock.recovery_retire does on one survivor.
func (r *Rescue) removeFrom(ctx context.Context, s *survivor, failed string) error {
	ctx, cancel := context.WithTimeout(ctx, removeLimit)
	defer cancel()
	return s.Do(ctx, func(c *pgx.Conn) error {
		if err := r.engine.Disable(ctx, c, failed); err != nil {
			return err
		}
		if len(s.suspended()) > 0 {
			if _, err := c.Exec(ctx, `SELECT spock.recovery_resume($1)`, failed); err != nil {
				return err
			}
		}
		// Two transactions: what this notes must be committed before the origin is dropped.
		if _, err := c.Exec(ctx, `SELECT spock.recovery_prepare_leave($1)`, failed); err != nil {
			return err
		}
		_, err := c.Exec(ctx, `SELECT spock.recovery_leave($1)`, failed)
		return err
	})
}

func (s *survivor) suspended() []string {
	if s.run == nil {
		return nil
	}
	return s.run.Suspended
}

// awaitEnds gives temporary clones and sessions, which end by themselves, the time to do so.
func (r *Rescue) awaitEnds(ctx context.Context, before map[string]bool) error {
	limited, cancel := context.WithTimeout(ctx, endLimit)
	defer cancel()
	for {
		ends := true
		for _, s := range r.survivors {
			for _, l := range s.left {
				if (l.What == "clone slot" || l.What == "session") && !before[l.Node+" "+l.What+" "+l.Name] {
					ends = false
				}
			}
		}
		if ends || wait.For(limited, pollPause) != nil {
			return ctx.Err()
		}
		if err := r.read(ctx); err != nil {
			return err
		}
	}
}

// inspect looks for what should be gone or back, as far as it was not out of order before.
func (r *Rescue) inspect(p Plan, before map[string]bool, res *Result) {
	kept := len(p.Stays) > 0
	for _, s := range r.survivors {
		for _, l := range s.left {
			ofFailed := s.subscribes && l.What == LeftSubscription
			switch {
			case ofFailed && kept:
			case ofFailed:
				if len(res.Wrong) == 0 { // else it has been said why
					res.Wrong = append(res.Wrong, fmt.Sprintf("%s is still on %s (%s)", p.Failed, s.Name, l.Name))
				}
			case !before[l.Node+" "+l.What+" "+l.Name]:
				res.Wrong = append(res.Wrong, fmt.Sprintf("left behind on %s: %s %s (%s)", l.Node, l.What, l.Name, l.Detail))
			}
		}
		if names := s.suspended(); len(names) > 0 {
			res.Wrong = append(res.Wrong, fmt.Sprintf("left behind on %s: suspended subscriptions to %s (SELECT spock.recovery_resume('%s') there)", s.Name, strings.Join(names, ", "), p.Failed))
		}
		for _, o := range s.outgoing {
			if !o.active && !r.feeds(o.name) {
				res.Notes = append(res.Notes, fmt.Sprintf("slot %s on %s keeps WAL and feeds no node that was named: if it was %s's, SELECT pg_drop_replication_slot('%s') there", o.name, s.Name, p.Failed, o.name))
			}
		}
	}
}

// feeds says whether a survivor reads from a slot.
func (r *Rescue) feeds(slot string) bool {
	return slices.ContainsFunc(r.survivors, func(s *survivor) bool { return slices.Contains(s.slots, slot) })
}

// interrupted makes sure that the target's other subscriptions go on, which the CALL had suspended. The CALL does it itself if it is let.
func (r *Rescue) interrupted(ctx context.Context, t Target) error {
	cause := ctx.Err()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopLimit)
	defer cancel()
	target := r.survivor(t.Node)
	err := target.Do(ctx, func(c *pgx.Conn) error {
		if err := target.readRun(ctx, c, r.opts.Failed); err != nil || len(target.suspended()) == 0 {
			return err
		}
		_, err := c.Exec(ctx, `SELECT spock.recovery_resume($1)`, r.opts.Failed)
		return err
	})
	if err != nil {
		return errors.Join(cause, fmt.Errorf("its subscriptions to others may be suspended until SELECT spock.recovery_resume('%s') is run there: %w", r.opts.Failed, err))
	}
	return cause
}
