package reports

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/spockchaos/spockchaos/checker"
	"github.com/spockchaos/spockchaos/checker/rundir"
)

// Build reads a run directory and puts the checker's result with it. A nil result
// makes the report that is saved before the check: inconclusive, not checked yet.
//
// A file of a round that cannot be read becomes a note: the report must say what
// there is. Only a directory that is no run is an error.
func Build(dir string, res *checker.Result) (*Report, error) {
	d, err := rundir.Open(dir)
	if err != nil {
		return nil, err
	}
	rounds, err := d.Rounds()
	if err != nil {
		return nil, err
	}
	run := d.Run
	rep := &Report{
		SchemaVersion: SchemaVersion, Verdict: checker.Inconclusive, Reasons: []string{"not checked yet"},
		Seed: run.Seed, Config: orEmpty(run.Config), Versions: run.Versions, Nodes: list(run.Nodes),
		StartedAt: run.StartedAt, EndedAt: run.EndedAt, Interrupted: run.Interrupted, Error: run.Error,
		ReplayOf: run.ReplayOf, Rounds: []Round{}, Faults: []Fault{}, Rescues: []Rescue{},
		Operations: operations(checker.Operations{}), Slots: map[string]Slot{}, Findings: []Finding{}, Notes: []string{},
		Again: again(dir, run), EngineSettings: orEmpty(run.EngineSettings),
	}
	last := run.StartedAt
	for n := 1; n <= rounds; n++ {
		r, end, notes := buildRound(d, n)
		rep.Notes = append(rep.Notes, notes...)
		rep.Rounds = append(rep.Rounds, r)
		rep.Faults = append(rep.Faults, r.Faults...)
		rep.Rescues = append(rep.Rescues, r.Rescues...)
		if end.After(last) {
			last = end
		}
	}
	if rep.EndedAt.IsZero() {
		rep.EndedAt = last
	}
	if res != nil {
		rep.judge(res)
	}
	return rep, nil
}

// judge puts the checker's result into a report.
func (rep *Report) judge(res *checker.Result) {
	rep.Checked = true
	rep.Verdict, rep.Reasons = res.Verdict, list(res.Reasons)
	rep.Operations, rep.RPO = operations(res.Operations), res.RPO
	for node, s := range res.Slots {
		if s != nil {
			rep.Slots[node] = Slot{s.Samples, s.Advances, s.FellBack, s.MaxRetained}
		}
	}
	for _, rr := range res.Rounds {
		i := slices.IndexFunc(rep.Rounds, func(r Round) bool { return r.Number == rr.Number })
		if i < 0 {
			// Begun after the directory was read for this report.
			rep.Rounds = append(rep.Rounds, emptyRound(rr.Number))
			i = len(rep.Rounds) - 1
		}
		r := &rep.Rounds[i]
		if r.Kind == "" {
			r.Kind = rr.Kind
		}
		r.Verdict, r.Reasons = rr.Verdict, list(rr.Reasons)
		r.Operations, r.RPO = operations(rr.Operations), rr.RPO
		for _, n := range rr.Notes {
			rep.Notes = append(rep.Notes, fmt.Sprintf("round %d: %s", rr.Number, n))
		}
		for _, f := range rr.Findings {
			r.Findings = append(r.Findings, finding(f))
		}
		rep.Findings = append(rep.Findings, r.Findings...)
	}
}

func emptyRound(n int) Round {
	return Round{
		Number: n, Verdict: checker.Inconclusive, Reasons: []string{"not checked yet"}, Timings: map[string]float64{},
		Operations: operations(checker.Operations{}), Faults: []Fault{}, Rescues: []Rescue{}, Findings: []Finding{},
	}
}

// buildRound reads a round's files but for its samples and history. end is the last time in them.
func buildRound(d *rundir.Dir, n int) (r Round, end time.Time, notes []string) {
	r = emptyRound(n)
	note := func(err error) {
		if err != nil {
			notes = append(notes, err.Error())
		}
	}
	seen := func(t time.Time) {
		if t.After(end) {
			end = t
		}
	}
	round, err := d.Round(n)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		notes = append(notes, fmt.Sprintf("round %d was begun but left no %s", n, rundir.RoundFile))
	case err != nil:
		note(err)
	default:
		r.Kind, r.Failed, r.Target, r.Seed = round.Kind, round.Failed, round.Target, round.Seed
		r.Complete, r.Interrupted, r.Quiesced, r.Error = round.Complete, round.Interrupted, round.Quiesced, round.Error
		for _, w := range round.Woken {
			notes = append(notes, fmt.Sprintf("round %d: the engine left %s's subscription to %s without an apply worker for %s after all was healed; it was disabled and enabled",
				n, w.Node, w.Provider, w.Down.Round(time.Second)))
		}
		for i, p := range round.Phases {
			seen(p.Start)
			if i == 0 {
				r.StartedAt = pointer(p.Start)
			}
			if !p.End.IsZero() {
				seen(p.End)
				r.Timings[p.Name] += seconds(p.End.Sub(p.Start))
			}
		}
	}
	where := rundir.RoundDir(d.Path, n)
	note(rundir.EachLine(filepath.Join(where, rundir.FaultsFile), func(f rundir.Fault) error {
		seen(f.EndedAt)
		r.Faults = append(r.Faults, Fault{
			Round: n, ID: f.ID, Name: f.Name, Target: f.Target, Parameters: orEmpty(f.Parameters),
			PlannedAt: pointer(f.PlannedAt), StartedAt: pointer(f.StartedAt), EndedAt: pointer(f.EndedAt),
			Effect: f.Effect, Proof: f.Proof, EndProof: f.EndProof, Error: f.Error,
		})
		return nil
	}))
	slices.SortStableFunc(r.Faults, func(a, b Fault) int { return compareTimes(a.StartedAt, b.StartedAt) })
	note(rundir.EachLine(filepath.Join(where, rundir.RescuesFile), func(x rundir.Rescue) error {
		seen(x.EndedAt)
		r.Rescues = append(r.Rescues, rescue(n, x))
		return nil
	}))
	return r, end, notes
}

func rescue(n int, x rundir.Rescue) Rescue {
	out := Rescue{
		Round: n, Failed: x.Failed, Source: x.Source, Target: x.Target, Coordinator: x.Coordinator, Strategy: x.Strategy,
		StartedAt: pointer(x.StartedAt), OK: x.OK, Error: x.Error, Transactions: x.Transactions, Rows: x.Rows,
		ResumedTimes: x.ResumedTimes, ExitStatus: x.ExitStatus, MissingBefore: x.MissingBefore, MissingAfter: x.MissingAfter,
		SourceAfter: x.SourceAfter.String(), TargetBefore: x.TargetBefore.String(), TargetAfter: x.TargetAfter.String(),
		Log: list(x.Log),
	}
	if !x.EndedAt.IsZero() {
		out.Seconds = seconds(x.EndedAt.Sub(x.StartedAt))
	}
	if x.Again != nil {
		out.Repeated = true
		out.Repeatable = x.Again.OK && x.Again.DigestBefore == x.Again.DigestAfter
	}
	return out
}

func finding(f checker.Finding) Finding {
	return Finding{
		Kind: f.Kind, Round: f.Round, Node: f.Node, Key: f.Key, Summary: f.Summary, Count: f.Count,
		Evidence: orEmpty(f.Evidence), FaultsActive: list(f.FaultsActive),
	}
}

func operations(o checker.Operations) Operations {
	out := Operations{OK: o.OK, Fail: o.Fail, Unknown: o.Unknown, ByWorkload: map[string]Operations{}}
	for name, w := range o.ByWorkload {
		if w != nil {
			out.ByWorkload[name] = operations(*w)
		}
	}
	return out
}

// list is never nil: null in the JSON would break readers that count.
func list[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return slices.Clone(s)
}

func orEmpty[V any](m map[string]V) map[string]V {
	if m == nil {
		return map[string]V{}
	}
	return maps.Clone(m)
}

func pointer(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func compareTimes(a, b *time.Time) int {
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return 1
	case b == nil:
		return -1
	}
	return a.Compare(*b)
}

// seconds rounds to a millisecond: more would be noise.
func seconds(d time.Duration) float64 { return float64(d.Milliseconds()) / 1000 }
