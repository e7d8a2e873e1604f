package checker

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spockchaos/spockchaos/checker/rundir"
)

const (
	// minWrites is how many acknowledged writes a complete round must have, on average.
	minWrites = 100
	// maxBlind is how long a node that is up may go without a sample while there is chaos.
	maxBlind = 5 * time.Second
)

// evidence is what a round adds to the question whether a run proves anything.
type evidence struct {
	complete bool // it came to its end and its end was judged
	kind     rundir.RoundKind
	ok       int64
	effects  int // faults that provably took effect
	replayed int64
	durable  int    // durable observations
	gaveUp   string // why the harness gave it up
	blind    []string
}

func gather(in *input, result *RoundResult) evidence {
	ev := evidence{complete: in.judgesEnd(), kind: in.round.Kind, ok: result.Operations.OK, gaveUp: in.round.Error}
	for _, f := range in.faults {
		if f.Effect {
			ev.effects++
		}
	}
	for _, r := range in.rescues {
		if r.OK {
			ev.replayed += r.Transactions
		}
	}
	for _, o := range in.observations {
		if o.Durable {
			ev.durable++
		}
	}
	ev.blind = blindness(in)
	return ev
}

// reasons says why a round by itself proves too little, beside its findings.
func (ev *evidence) reasons(in *input) []string {
	var out []string
	switch {
	case in.round.Number == 0:
		out = append(out, "The round was broken off before it had begun.")
	case ev.gaveUp != "":
		out = append(out, "The round was given up: "+ev.gaveUp+".")
	case !ev.complete:
		out = append(out, "The round was broken off before its end; only what samples and observations show was judged.")
	}
	return append(out, ev.blind...)
}

// runReasons says why a run proves too little: each a sentence. Rounds that did not
// come to their end do not count, unless there is no other.
func runReasons(run rundir.Run, rounds []evidence) []string {
	var (
		out                        []string
		complete, effects, durable int
		ok, replayed               int64
	)
	for i, ev := range rounds {
		effects += ev.effects
		durable += ev.durable
		if ev.complete {
			complete++
			ok += ev.ok
			if ev.kind == rundir.KindLoss {
				replayed += ev.replayed
			}
		}
		if ev.gaveUp != "" {
			out = append(out, fmt.Sprintf("Round %d was given up: %s.", i+1, ev.gaveUp))
		}
		for _, b := range ev.blind {
			out = append(out, fmt.Sprintf("Round %d: %s", i+1, b))
		}
	}
	if run.Error != "" {
		out = append(out, "The run ended early: "+run.Error+".")
	}
	if complete == 0 {
		if run.Interrupted {
			return append(out, "The run was interrupted before one round was complete.")
		}
		return append(out, "No round was complete.")
	}
	if ok < int64(minWrites*complete) {
		out = append(out, fmt.Sprintf("Only %d writes were acknowledged in %d complete rounds; a verdict needs %d a round.", ok, complete, minWrites))
	}
	if effects == 0 {
		out = append(out, "No fault took effect.")
	}
	switch {
	case replayed > 0:
	case len(run.Nodes) == 2:
		out = append(out, "With two nodes no rescue can be tested: the loss of one leaves one survivor and nobody for it to lag behind. Use 3 nodes or more.")
	default:
		out = append(out, "No rescue had a transaction to replay in a complete round that lost a node.")
	}
	if durable == 0 {
		out = append(out, "No observer made a durable observation.")
	}
	return out
}

// blindness says where the watcher saw nothing of a node that was up for longer than
// maxBlind during chaos.
func blindness(in *input) []string {
	if in.round.Number == 0 {
		return nil
	}
	any := false
	for _, s := range in.samples {
		any = any || lastGood(s) != nil
	}
	if !any {
		return []string{"The watcher read no sample."}
	}
	chaos, ok := in.phase(rundir.PhaseChaos)
	if !ok || chaos.End.IsZero() {
		return nil
	}
	var out []string
	for _, node := range in.run.Nodes {
		var worst time.Duration
		for _, up := range upTimes(in.events, node, chaos.Start, chaos.End) {
			worst = max(worst, longestGap(in.samples[node], up[0], up[1]))
		}
		if worst > maxBlind {
			out = append(out, fmt.Sprintf("The watcher saw nothing of %s for %v during chaos while it was up.", node, worst.Round(100*time.Millisecond)))
		}
	}
	return out
}

// upTimes lists when a node was up and not paused, within [from, to].
func upTimes(events []rundir.NodeEvent, node string, from, to time.Time) [][2]time.Time {
	var out [][2]time.Time
	running, paused, since := true, false, from // every node is up when a round begins
	change := func(at time.Time, up func()) {
		was := running && !paused
		up()
		now := running && !paused
		switch {
		case was && !now:
			if end := earlier(at, to); end.After(since) {
				out = append(out, [2]time.Time{since, end})
			}
		case !was && now:
			since = at
			if since.Before(from) {
				since = from
			}
		}
	}
	for _, e := range events {
		if e.Node != node {
			continue
		}
		switch e.Kind {
		case rundir.EventStart:
			change(e.At, func() { running, paused = true, false })
		case rundir.EventStop, rundir.EventStopped, rundir.EventImmediate, rundir.EventKill, rundir.EventLose:
			change(e.At, func() { running = false })
		case rundir.EventPause:
			change(e.At, func() { paused = true })
		case rundir.EventResume:
			change(e.At, func() { paused = false })
		}
	}
	if running && !paused && to.After(since) {
		out = append(out, [2]time.Time{since, to})
	}
	return out
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// longestGap is the longest stretch of [from, to] without the end of a good sample: it shows one moment, however long it took.
func longestGap(samples []rundir.Sample, from, to time.Time) time.Duration {
	var longest time.Duration
	for _, s := range samples {
		if !good(&s) || s.End.Before(from) {
			continue
		}
		if s.End.After(to) {
			break
		}
		longest = max(longest, s.End.Sub(from))
		from = s.End
	}
	return max(longest, to.Sub(from))
}

// verdict is a fail if there is a finding, inconclusive if there is a reason, else a pass.
func verdict(findings int, reasons []string) Verdict {
	switch {
	case findings > 0:
		return FailVerdict
	case len(reasons) > 0:
		return Inconclusive
	}
	return Pass
}

// summarySentence says what was found, for Reasons of a verdict that is a fail.
func summarySentence(findings []Finding) string {
	var kinds []string
	for _, f := range findings {
		if !slices.Contains(kinds, string(f.Kind)) {
			kinds = append(kinds, string(f.Kind))
		}
	}
	slices.Sort(kinds)
	noun := "findings"
	if len(findings) == 1 {
		noun = "finding"
	}
	return fmt.Sprintf("%d %s: %s.", len(findings), noun, strings.Join(kinds, ", "))
}
