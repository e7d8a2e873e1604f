package checker

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/workload/history"
)

// convincing is a round that passes.
func convincing(t *testing.T) *world {
	w := newWorld(t)
	s := w.session(1, "n1")
	for range 150 {
		s.ok(event(1))
	}
	w.faults = []rundir.Fault{{Name: "lag", Target: "n1>n3", StartedAt: at(5), EndedAt: at(30), Effect: true}}
	w.rescues = []rundir.Rescue{{Failed: "n1", Source: "n2", Target: "n3", StartedAt: at(31), EndedAt: at(33), OK: true, Transactions: 12}}
	w.observe("n2", 25, true, s, 0, 1, 2, 3)
	for _, n := range w.run.Nodes {
		for i := range 45 {
			if n != "n1" || i < 30 {
				w.sample(sampleAt(n, float64(i)+0.5, 1000))
			}
		}
	}
	return w
}

func TestVerdictNeedsEvidence(t *testing.T) {
	for _, c := range []struct {
		name    string
		build   func(*world)
		verdict Verdict
		reason  string // part of one of them
	}{
		{"enough", func(*world) {}, Pass, ""},
		{"few writes", func(w *world) { w.sessions[0].ops = w.sessions[0].ops[:50] }, Inconclusive, "50 writes"},
		{"no fault took effect", func(w *world) { w.faults[0].Effect = false }, Inconclusive, "No fault"},
		{"nothing to replay", func(w *world) { w.rescues[0].Transactions = 0 }, Inconclusive, "replay"},
		{"no rescue", func(w *world) { w.rescues = nil }, Inconclusive, "replay"},
		{"only crashes", func(w *world) { w.crash() }, Inconclusive, "replay"},
		{"two nodes", func(w *world) {
			w.run.Nodes = w.run.Nodes[:2]
			w.crash().blind("n3", 0, 60)
		}, Inconclusive, "two nodes"},
		{"no sample", func(w *world) { w.samples = nil }, Inconclusive, "no sample"},
		{"no durable observation", func(w *world) { w.observations[0].Durable = false }, Inconclusive, "durable"},
		{"a failed observation is none", func(w *world) { w.observations[0].Error = "x" }, Inconclusive, "durable"},
		{"blind for long", func(w *world) { w.blind("n2", 10, 16.5) }, Inconclusive, "nothing of n2 for 8s"},
		{"a look that took long", func(w *world) {
			w.blind("n2", 10, 16.5)
			s := sampleAt("n2", 10.1, 1000)
			s.End = at(16.9)
			w.sample(s)
		}, Inconclusive, "nothing of n2 for 7.4s"},
		{"failed samples are none", func(w *world) {
			for i := range w.samples {
				if s := &w.samples[i]; s.Node == "n2" && s.At.After(at(10)) && s.At.Before(at(17)) {
					*s = rundir.Sample{At: s.At, End: s.End, Node: "n2", Error: "timeout"}
				}
			}
		}, Inconclusive, "nothing of n2"},
		{"blind while it was down", func(w *world) {
			w.blind("n2", 10, 16.5)
			w.events = []rundir.NodeEvent{{At: at(10.6), Node: "n2", Kind: rundir.EventKill}, {At: at(16), Node: "n2", Kind: rundir.EventStart}}
		}, Pass, ""},
		{"blind while it was paused", func(w *world) {
			w.blind("n2", 10, 16.5)
			w.events = []rundir.NodeEvent{{At: at(10.6), Node: "n2", Kind: rundir.EventPause}, {At: at(16), Node: "n2", Kind: rundir.EventResume}}
		}, Pass, ""},
		{"blind before chaos", func(w *world) { w.blind("n2", 0, 3.6) }, Pass, ""},
		{"broken off", func(w *world) { w.round.Complete, w.round.Interrupted, w.run.Interrupted = false, true, true }, Inconclusive, "interrupted before one round"},
		{"given up", func(w *world) { w.round.Complete, w.round.Error = false, "n2 did not start" }, Inconclusive, "n2 did not start"},
		{"a finding beats all", func(w *world) {
			w.samples, w.faults = nil, nil
			w.lacks("n3", w.sessions[0], 5)
		}, FailVerdict, "1 finding: lost"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := convincing(t)
			c.build(w)
			r, err := Check(t.Context(), w.write())
			if err != nil {
				t.Fatal(err)
			}
			if r.Verdict != c.verdict || !strings.Contains(strings.Join(r.Reasons, " "), c.reason) || (c.verdict == Pass) != (len(r.Reasons) == 0) {
				t.Errorf("%v because %q, want %v because %q", r.Verdict, r.Reasons, c.verdict, c.reason)
			}
		})
	}
}

// blind takes the samples of a node between two times away.
func (w *world) blind(node string, from, to float64) {
	keep := w.samples[:0]
	for _, s := range w.samples {
		if s.Node != node || s.At.Before(at(from)) || s.At.After(at(to)) {
			keep = append(keep, s)
		}
	}
	w.samples = keep
}

func TestAnInterruptedLastRoundDoesNotSpoilTheOthers(t *testing.T) {
	w := convincing(t)
	w.run.Rounds, w.run.Interrupted = 3, true
	dir := w.write()
	// Round 2 was broken off; round 3 has not even a round.json.
	if err := rundir.WriteJSON(filepath.Join(rundir.RoundDir(dir, 2), rundir.RoundFile),
		rundir.Round{Number: 2, Kind: rundir.KindLoss, Failed: "n1", Survivors: []string{"n2", "n3"}, Interrupted: true}); err != nil {
		t.Fatal(err)
	}
	r, err := Check(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Rounds) != 3 || r.Rounds[0].Verdict != Pass || r.Rounds[1].Verdict != Inconclusive || r.Rounds[2].Verdict != Inconclusive {
		t.Errorf("%+v", r.Rounds)
	}
	if r.Operations.OK != 150 || r.Slots["n2"].Samples != 45 {
		t.Errorf("%+v, %+v", r.Operations, r.Slots["n2"])
	}
}

func TestFilesThatCannotBeRead(t *testing.T) {
	ledger := func(dir string) string { return rundir.FinalTable(rundir.RoundDir(dir, 1), "n3", rundir.TableLedger) }
	hist := func(dir string) string { return filepath.Join(rundir.RoundDir(dir, 1), rundir.HistoryDir, "1.hist") }
	cut := func(path string, by int64) error {
		st, err := os.Stat(path)
		if err != nil {
			return err
		}
		return os.Truncate(path, st.Size()-by)
	}
	garble := func(path string) error {
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		b[len(b)/2] ^= 1
		return os.WriteFile(path, b, 0o644)
	}
	for _, c := range []struct {
		name  string
		spoil func(dir string) error
		names string
	}{
		{"no run", func(dir string) error { return os.Remove(filepath.Join(dir, rundir.RunFile)) }, "not a run directory"},
		{"snapshot missing", func(dir string) error { return os.Remove(ledger(dir)) }, "n3/ledger"},
		{"snapshot cut", func(dir string) error { return cut(ledger(dir), 3) }, "n3/ledger"},
		{"snapshot garbled", func(dir string) error { return garble(ledger(dir)) }, "n3/ledger"},
		{"history garbled", func(dir string) error { return garble(hist(dir)) }, "1.hist"},
		{"history cut in a record", func(dir string) error { return cut(hist(dir), 3) }, "1.hist"},
		{"history cut between records", func(dir string) error {
			w, err := history.Create(hist(dir)+"x", history.Header{Session: 1, Node: "n1", Workload: "ledger", Seed: testSeed})
			if err != nil {
				return err
			}
			if err := w.Close(); err != nil {
				return err
			}
			return os.Rename(hist(dir)+"x", hist(dir))
		}, "1.hist: cut short"},
		{"history missing", func(dir string) error { return os.Remove(hist(dir)) }, "no history of session 1"},
		{"history empty", func(dir string) error { return os.Truncate(hist(dir), 0) }, "1.hist"},
		{"samples garbled", func(dir string) error {
			return os.WriteFile(filepath.Join(rundir.RoundDir(dir, 1), rundir.SamplesFile), []byte("{}\nx\n"), 0o644)
		}, "samples.jsonl, line 2"},
		{"round garbled", func(dir string) error {
			return os.WriteFile(filepath.Join(rundir.RoundDir(dir, 1), rundir.RoundFile), []byte(`{"number`), 0o644)
		}, "round.json"},
		{"round without survivors", func(dir string) error {
			return rundir.WriteJSON(filepath.Join(rundir.RoundDir(dir, 1), rundir.RoundFile), rundir.Round{Number: 1, Complete: true})
		}, "round.json"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := convincing(t)
			w.session(2, "n1").ok()
			dir := w.write()
			if err := c.spoil(dir); err != nil {
				t.Fatal(err)
			}
			r, err := Check(t.Context(), dir)
			if err == nil || !strings.Contains(err.Error(), c.names) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %v, want one line with %q; verdict %v", err, c.names, r.Verdict)
			}
		})
	}
}

// What kill −9 of the program leaves is no error.
func TestAKilledRunIsJudged(t *testing.T) {
	w := convincing(t)
	w.round.Complete, w.noFinals, w.run.EndedAt = false, true, time.Time{}
	w.run.Rounds = 0 // it is written at the end
	dir := w.write()
	rd := rundir.RoundDir(dir, 1)
	for _, f := range []string{filepath.Join(rundir.HistoryDir, "1.hist"), rundir.SamplesFile, rundir.ObservationsFile} {
		st, err := os.Stat(filepath.Join(rd, f))
		if err == nil {
			err = os.Truncate(filepath.Join(rd, f), st.Size()-3)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(rd, rundir.HistoryDir, "2.hist"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	r, err := Check(t.Context(), dir)
	if err != nil || r.Verdict != Inconclusive || len(r.Rounds) != 1 || r.Operations.OK == 0 {
		t.Errorf("%v %v, %+v, %v", r.Verdict, r.Reasons, r.Rounds, err)
	}
}
