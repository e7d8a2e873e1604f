package checker

import (
	"context"
	"errors"
	"fmt"

	"github.com/spockchaos/spockchaos/checker/rundir"
)

// Check judges a whole run from its directory. An error means that there can be no
// verdict: dir is not a run, or a file is truncated or garbled; it names the file.
// A run that was interrupted or killed is judged on what there is.
func Check(ctx context.Context, dir string) (Result, error) {
	d, err := rundir.Open(dir)
	if err != nil {
		return Result{}, err
	}
	result := Result{Reasons: []string{}, Rounds: []RoundResult{}, Slots: make(map[string]*SlotSummary)}
	var (
		proof    []evidence
		findings []Finding
	)
	rounds, err := d.Rounds()
	if err != nil {
		return Result{}, err
	}
	for n := 1; n <= rounds; n++ {
		r, ev, err := checkRound(ctx, d.Run, dir, n)
		if err != nil {
			return Result{}, err
		}
		result.Rounds = append(result.Rounds, r)
		result.Operations.add(r.Operations)
		result.RPO.add(r.RPO)
		for node, s := range r.Slots {
			if result.Slots[node] == nil {
				result.Slots[node] = &SlotSummary{}
			}
			result.Slots[node].add(*s)
		}
		findings = append(findings, r.Findings...)
		proof = append(proof, ev)
	}
	reasons := runReasons(d.Run, proof)
	result.Verdict = verdict(len(findings), reasons)
	if len(findings) > 0 {
		result.Reasons = append(result.Reasons, summarySentence(findings))
	}
	result.Reasons = append(result.Reasons, reasons...)
	return result, nil
}

// CheckRound judges round n of the run in dir. Errors are as Check's.
func CheckRound(ctx context.Context, run rundir.Run, dir string, n int) (RoundResult, error) {
	r, _, err := checkRound(ctx, run, dir, n)
	return r, err
}

func checkRound(ctx context.Context, run rundir.Run, dir string, n int) (RoundResult, evidence, error) {
	in, err := load(run, dir, n)
	if err != nil {
		return RoundResult{}, evidence{}, fmt.Errorf("checking round %d: %w", n, err)
	}
	result := RoundResult{Number: n, Kind: in.round.Kind, Reasons: []string{}, Slots: make(map[string]*SlotSummary)}
	c := newCollector(n, &faultTimes{all: in.faults})

	w, err := checkData(ctx, in, c, &result)
	if err != nil {
		return RoundResult{}, evidence{}, fmt.Errorf("checking round %d: %w", n, err)
	}
	bankTotals(in, c)

	summarise(in, result.Slots)
	slotRegressed(in, c, result.Slots)
	slotMissing(in, c)
	slotLost(in, c)
	slotBeyond(in, c)
	slotOverran(in, c)
	slotStalled(in, c)

	rescueIncomplete(in, c)
	rescueLeftovers(in, c)
	rescueNotRepeatable(in, c)
	notConverging(in, c, w)

	result.Findings, result.Notes = c.findings(), standstills(in)
	ev := gather(in, &result)
	reasons := ev.reasons(in)
	result.Verdict = verdict(len(result.Findings), reasons)
	if len(result.Findings) > 0 {
		result.Reasons = append(result.Reasons, summarySentence(result.Findings))
	}
	result.Reasons = append(result.Reasons, reasons...)
	return result, ev, nil
}

// checkData judges histories, observations and, if the round came to its end, final snapshots.
func checkData(ctx context.Context, in *input, c *collector, result *RoundResult) (_ *walker, err error) {
	var groups []*group
	defer func() {
		for _, g := range groups {
			err = errors.Join(err, g.close())
		}
	}()
	if in.judgesEnd() {
		sets, err := groupSurvivors(ctx, in)
		if err != nil {
			return nil, err
		}
		for _, nodes := range sets {
			g, err := openGroup(in, nodes)
			if err != nil {
				return nil, err
			}
			groups = append(groups, g)
		}
	}
	w := newWalker(in, c, result, groups)
	return w, w.walk(ctx)
}

func (r *RPO) add(o RPO) {
	r.Writes += o.Writes
	r.OldestSeconds = max(r.OldestSeconds, o.OldestSeconds)
}

func (s *SlotSummary) add(o SlotSummary) {
	s.Samples += o.Samples
	s.Advances += o.Advances
	s.FellBack += o.FellBack
	s.MaxRetained = max(s.MaxRetained, o.MaxRetained)
}
