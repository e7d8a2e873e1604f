// Package reportstest writes run directories by hand, for tests of what reads them.
package reportstest

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"time"

	"github.com/spockchaos/spockchaos/checker"
	"github.com/spockchaos/spockchaos/checker/rundir"
)

// Spec says what a directory holds.
type Spec struct {
	Seed    uint64
	Rounds  int
	Nodes   int
	Samples int    // per node and round
	Text    string // put into every free text, to see it escaped
	// Findings puts two findings into round 2 of the result.
	Findings bool
}

// Start is when every run begins.
func Start() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

const roundLength = 34 * time.Second

// Write makes the directory and returns what a checker could have said of it.
func Write(dir string, s Spec) (*checker.Result, error) {
	r := rand.New(rand.NewPCG(s.Seed, 1))
	nodes := make([]string, s.Nodes)
	for i := range nodes {
		nodes[i] = fmt.Sprintf("n%d", i+1)
	}
	run := rundir.Run{
		SchemaVersion: rundir.SchemaVersion, Seed: s.Seed, Nodes: nodes, Rounds: s.Rounds,
		Config: map[string]any{"duration": "2m", "nodes": s.Nodes, "faults": []string{"partition", "kill"}, "rate": 0, "recovery-sql": s.Text,
			"engine": "pglogical", "pg-ver": "", "report-dir": dir, "seed": s.Seed, "quiet": false},
		Versions:  rundir.Versions{Postgres: "15.18", Engine: "pglogical 2.4.2", SpockChaos: "v0.1.0"},
		StartedAt: Start(), EndedAt: Start().Add(time.Duration(s.Rounds) * roundLength),
		RecoverySQL: s.Text, EngineSettings: map[string]string{"pglogical.conflict_resolution": "last_update_wins"},
	}
	if err := rundir.WriteJSON(filepath.Join(dir, rundir.RunFile), run); err != nil {
		return nil, err
	}
	result := &checker.Result{Verdict: checker.Pass, Slots: map[string]*checker.SlotSummary{}, RPO: checker.RPO{Writes: 17, OldestSeconds: 0.42}}
	for _, n := range nodes {
		result.Slots[n] = &checker.SlotSummary{Samples: int64(s.Samples * s.Rounds), Advances: 512, FellBack: 1, MaxRetained: 48_300_112}
	}
	for n := 1; n <= s.Rounds; n++ {
		if err := writeRound(dir, s, n, nodes, r); err != nil {
			return nil, err
		}
		rr := checker.RoundResult{Number: n, Kind: kind(n), Verdict: checker.Pass, RPO: checker.RPO{Writes: 1, OldestSeconds: 0.1},
			Operations: operations(int64(90_000 + r.IntN(9000)))}
		if s.Findings && n == min(2, s.Rounds) {
			rr.Verdict = checker.FailVerdict
			rr.Reasons = []string{"2 findings: lost, slot_regressed"}
			rr.Findings = findings(n, s.Text)
		}
		result.Rounds = append(result.Rounds, rr)
		result.Operations.OK += rr.Operations.OK
		result.Operations.Fail += rr.Operations.Fail
		result.Operations.Unknown += rr.Operations.Unknown
		result.Operations.ByWorkload = rr.Operations.ByWorkload
	}
	if s.Findings {
		result.Verdict, result.Reasons = checker.FailVerdict, []string{"2 findings: lost, slot_regressed"}
	}
	return result, nil
}

func kind(n int) rundir.RoundKind {
	if n%4 == 0 {
		return rundir.KindCrash
	}
	return rundir.KindLoss
}

func operations(ok int64) checker.Operations {
	return checker.Operations{OK: ok, Fail: 120, Unknown: 33, ByWorkload: map[string]*checker.Operations{
		"ledger": {OK: ok / 2, Fail: 20, Unknown: 13}, "bank": {OK: ok / 4, Fail: 60, Unknown: 10}, "counter": {OK: ok / 4, Fail: 40, Unknown: 10}}}
}

func findings(round int, text string) []checker.Finding {
	return []checker.Finding{{
		Kind: checker.Lost, Round: round, Node: "n3", Key: "session 3 n 217" + text, Count: 12,
		Summary:      "write 217 of session 3 was acknowledged by n1 and is on n2, but not on n3 after the rescue" + text,
		Evidence:     map[string]any{"session": 3, "n": 217, "acknowledged_at": "2026-03-01T12:00:41.204Z", "on": []string{"n2"}, "missing_on": []string{"n3"}, "text" + text: text},
		FaultsActive: []string{"subscription-disabled n1>n3" + text, "lag n1>n2"},
	}, {
		Kind: checker.SlotRegressed, Round: round, Node: "n2", Key: "slot spk_recovery_chaos", Count: 1,
		Summary:  "confirmed_flush_lsn fell from 0/5A41F20 to 0/5300D48 without a restart" + text,
		Evidence: map[string]any{"before": "0/5A41F20", "after": "0/5300D48"},
	}}
}

func writeRound(dir string, s Spec, n int, nodes []string, r *rand.Rand) error {
	begin := Start().Add(time.Duration(n-1) * roundLength)
	at := func(seconds float64) time.Time { return begin.Add(time.Duration(seconds * float64(time.Second))) }
	target := nodes[len(nodes)-1]
	where := rundir.RoundDir(dir, n)
	round := rundir.Round{
		Number: n, Kind: kind(n), Seed: s.Seed + uint64(n), Failed: "n1", Survivors: nodes[1:], Target: target, LostAt: at(24.1),
		Quiesced: true, Complete: true, Phases: []rundir.Phase{
			{Name: rundir.PhaseRestore, Start: at(0), End: at(1.4)}, {Name: rundir.PhaseBaseline, Start: at(1.4), End: at(4)},
			{Name: rundir.PhaseChaos, Start: at(4), End: at(24)}, {Name: rundir.PhaseLoss, Start: at(24), End: at(25.2)},
			{Name: rundir.PhaseRescue, Start: at(25.2), End: at(27.9)}, {Name: rundir.PhaseHeal, Start: at(27.9), End: at(28.6)},
			{Name: rundir.PhaseQuiesce, Start: at(28.6), End: at(30)}, {Name: rundir.PhaseSettle, Start: at(30), End: at(32.2)},
			{Name: rundir.PhaseSnapshot, Start: at(32.2), End: at(33)}, {Name: rundir.PhaseCheck, Start: at(33), End: at(33.6)},
		},
	}
	if s.Text != "" {
		round.Target, round.Error = s.Text, s.Text
	}
	if err := rundir.WriteJSON(filepath.Join(where, rundir.RoundFile), round); err != nil {
		return err
	}
	if err := writeLines(filepath.Join(where, rundir.FaultsFile), faults(at, target, s.Text)); err != nil {
		return err
	}
	rescue := rundir.Rescue{
		Strategy: "sql", Failed: "n1", Source: "n2", Target: target, Coordinator: "n2", StartedAt: at(25.3), EndedAt: at(27.6), OK: true,
		Transactions: 12_480, Rows: 15_022, MissingBefore: 12_480, SourceBefore: 0x5A41F20, TargetBefore: 0x5300D48, SourceAfter: 0x5A41F20, TargetAfter: 0x5A41F20,
		Log: []string{"precheck passed" + s.Text, "clone made", "replayed"}, Again: &rundir.Again{OK: true, DigestBefore: "a", DigestAfter: "a"},
	}
	if err := writeLines(filepath.Join(where, rundir.RescuesFile), []rundir.Rescue{rescue}); err != nil {
		return err
	}
	return writeLines(filepath.Join(where, rundir.SamplesFile), samples(s, nodes, at, r))
}

func faults(at func(float64) time.Time, target, text string) []rundir.Fault {
	list := []rundir.Fault{
		{ID: 1, Name: "lag", Target: "n2>n1", Parameters: map[string]any{"latency_ms": 120.0, "jitter_ms": 30.0}, PlannedAt: at(5), StartedAt: at(5.01), EndedAt: at(11.2), Effect: true, Proof: "a round trip took 241 ms, before 0.3 ms", EndProof: "a round trip took 0.3 ms"},
		{ID: 2, Name: "partition", Target: "n2<>n3", Parameters: map[string]any{}, PlannedAt: at(8), StartedAt: at(8.02), EndedAt: at(13), Effect: true, Proof: "12,204 bytes held in each direction, none passed for 4.9 s", EndProof: "all held bytes passed"},
		{ID: 3, Name: "kill", Target: "n2", Parameters: map[string]any{"down_ms": 2400.0}, PlannedAt: at(14.2), StartedAt: at(14.2), EndedAt: at(17.1), Effect: true, Proof: "14 processes gone, connection refused", EndProof: "answers queries, postmaster started 12:00:17"},
		{ID: 4, Name: "terminate-walsender", Target: "n2>n3", Parameters: map[string]any{}, PlannedAt: at(18), StartedAt: at(18), EndedAt: at(18.4), Proof: "no walsender was running", Error: text},
		{ID: 5, Name: "subscription-disabled", Target: target + ">n1", Parameters: map[string]any{"reason": text}, PlannedAt: at(15), StartedAt: at(15), EndedAt: at(25.2), Effect: true, Proof: "apply worker gone; progress stood still for 10.1 s" + text},
		{ID: 6, Name: "loss", Target: "n1", PlannedAt: at(24), StartedAt: at(24.1), Effect: true, Proof: "16 processes gone, data directory removed"},
	}
	for i := range list {
		list[i].Name += text
	}
	return list
}

func samples(s Spec, nodes []string, at func(float64) time.Time, r *rand.Rand) []rundir.Sample {
	var list []rundir.Sample
	confirmed := make([]float64, len(nodes))
	for i := range s.Samples {
		t := 34 * float64(i) / float64(s.Samples)
		flush := 0x4000000 + 900_000*min(t, 25)
		for k, node := range nodes {
			sample := rundir.Sample{At: at(t), End: at(t + 0.01), Node: node}
			if k == 0 && t > 24.1 || k == 1 && t > 14.2 && t < 17 {
				sample.Error = "connection refused" + s.Text
				list = append(list, sample)
				continue
			}
			applied := flush - 20_000 - 30_000*r.Float64()
			if k == len(nodes)-1 && t > 15 && t < 27 {
				applied = 0x4000000 + 900_000*15
			}
			confirmed[k] = max(confirmed[k], applied-500_000*r.Float64())
			c := confirmed[k]
			if s.Findings && k == 1 && t > 20 && t < 21 {
				c -= 4_000_000
			}
			sample.FlushLSN = rundir.LSN(flush)
			sample.Slot = &rundir.Slot{Name: "spk_recovery_chaos", Restart: rundir.LSN(c - 200_000), Confirmed: rundir.LSN(c), WALStatus: "reserved", Retained: int64(flush - c + 200_000)}
			for p, provider := range nodes {
				if p != k {
					sample.Origins = append(sample.Origins, rundir.Origin{Node: provider, Remote: rundir.LSN(applied)})
				}
			}
			list = append(list, sample)
		}
	}
	return list
}

func writeLines[T any](path string, records []T) error {
	l, err := rundir.OpenLines(path)
	if err != nil {
		return err
	}
	for _, x := range records {
		if err := l.Append(x); err != nil {
			return err
		}
	}
	return l.Close()
}
