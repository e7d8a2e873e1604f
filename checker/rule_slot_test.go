package checker

import (
	"testing"

	"github.com/spockchaos/spockchaos/checker/rundir"
)

// change edits a sample.
func change(s rundir.Sample, f func(*rundir.Sample)) rundir.Sample { f(&s); return s }

// epoch says that the postmaster was started at second e, and what it had written.
func epoch(s rundir.Sample, e float64, insert, redo rundir.LSN) rundir.Sample {
	s.Epoch, s.InsertLSN, s.RedoLSN = at(e), insert, redo
	return s
}

func TestSlotRegressed(t *testing.T) {
	event := func(w *world, seconds float64, kind rundir.EventKind) {
		w.events = append(w.events, rundir.NodeEvent{At: at(seconds), Node: "n2", Kind: kind})
	}
	runCases(t, []ruleCase{
		{"it rises and stays", func(w *world) {
			w.sample(sampleAt("n2", 5, 100), sampleAt("n2", 6, 100), sampleAt("n2", 7, 200))
		}, ""},
		{"it goes back while the server runs", func(w *world) { w.sample(sampleAt("n2", 5, 200), sampleAt("n2", 6, 100)) }, "slot_regressed n2"},
		{"only restart_lsn does", func(w *world) {
			w.sample(sampleAt("n2", 5, 200), change(sampleAt("n2", 6, 300), func(s *rundir.Sample) { s.Slot.Restart = 150 }))
		}, "slot_regressed n2"},
		{"positions of different nodes have nothing to do with each other", func(w *world) { w.sample(sampleAt("n2", 5, 200), sampleAt("n3", 6, 100)) }, ""},
		{"a failed sample says nothing", func(w *world) {
			w.sample(sampleAt("n2", 5, 200), rundir.Sample{At: at(6), End: at(7), Node: "n2", Error: "no answer"}, sampleAt("n2", 8, 200))
		}, ""},
		{"it falls back after a crash to what no checkpoint had saved", func(w *world) {
			event(w, 6, rundir.EventKill)
			w.sample(epoch(sampleAt("n2", 5, 200), 0, 900, 50), epoch(sampleAt("n2", 8, 100), 7, 950, 50))
		}, ""},
		{"after a crash below what a checkpoint had saved", func(w *world) {
			event(w, 6, rundir.EventKill)
			w.sample(epoch(sampleAt("n2", 4, 200), 0, 600, 50), epoch(sampleAt("n2", 5, 300), 0, 900, 700), epoch(sampleAt("n2", 8, 150), 7, 950, 700))
		}, "slot_regressed n2"},
		{"to what the checkpoint had saved, and not further", func(w *world) {
			event(w, 6, rundir.EventKill)
			w.sample(epoch(sampleAt("n2", 4, 200), 0, 600, 50), epoch(sampleAt("n2", 5, 300), 0, 900, 700), epoch(sampleAt("n2", 8, 200), 7, 950, 700))
		}, ""},
		{"a position read after the checkpoint may have begun is not known to be saved", func(w *world) {
			event(w, 6, rundir.EventKill)
			w.sample(epoch(sampleAt("n2", 4, 200), 0, 700, 50), epoch(sampleAt("n2", 5, 300), 0, 900, 700), epoch(sampleAt("n2", 8, 150), 7, 950, 700))
		}, ""},
		{"a checkpoint that was not seen completed saved nothing", func(w *world) {
			event(w, 6, rundir.EventKill)
			w.sample(epoch(sampleAt("n2", 4, 200), 0, 600, 50), epoch(sampleAt("n2", 5, 300), 0, 900, 50), epoch(sampleAt("n2", 8, 150), 7, 950, 700))
		}, ""},
		{"what was saved stays saved over two crashes", func(w *world) {
			event(w, 6, rundir.EventKill)
			event(w, 10, rundir.EventImmediate)
			w.sample(epoch(sampleAt("n2", 3, 200), 0, 500, 50), epoch(sampleAt("n2", 4, 200), 0, 600, 50), epoch(sampleAt("n2", 5, 300), 0, 900, 700),
				epoch(sampleAt("n2", 8, 200), 7, 950, 700), epoch(sampleAt("n2", 12, 150), 11, 960, 700))
		}, "slot_regressed n2"},
		{"it goes back over a clean restart", func(w *world) {
			event(w, 6, rundir.EventStop)
			event(w, 6.5, rundir.EventStopped)
			w.sample(sampleAt("n2", 5, 200), epoch(sampleAt("n2", 8, 100), 7, 1000, 0))
		}, "slot_regressed n2"},
		{"it does not go back over a clean restart", func(w *world) {
			event(w, 6, rundir.EventStop)
			event(w, 6.5, rundir.EventStopped)
			w.sample(sampleAt("n2", 5, 200), epoch(sampleAt("n2", 8, 200), 7, 1000, 0))
		}, ""},
		{"a stop that ended in a kill was not clean", func(w *world) {
			event(w, 6, rundir.EventStopped)
			event(w, 6.5, rundir.EventKill)
			w.sample(sampleAt("n2", 5, 200), epoch(sampleAt("n2", 8, 100), 7, 1000, 0))
		}, ""},
		{"a clean stop of another node says nothing", func(w *world) {
			w.events = append(w.events, rundir.NodeEvent{At: at(6), Node: "n3", Kind: rundir.EventStopped})
			w.sample(sampleAt("n2", 5, 200), epoch(sampleAt("n2", 8, 100), 7, 1000, 0))
		}, ""},
	})
}

func TestSlotSummary(t *testing.T) {
	w := newWorld(t)
	w.events = []rundir.NodeEvent{{At: at(6), Node: "n2", Kind: rundir.EventKill}}
	w.sample(sampleAt("n2", 4, 100), sampleAt("n2", 5, 200), epoch(sampleAt("n2", 8, 100), 7, 1000, 0), epoch(sampleAt("n2", 9, 300), 7, 1000, 0))
	r := w.check()
	if got, want := *r.Slots["n2"], (SlotSummary{Samples: 4, Advances: 2, FellBack: 1, MaxRetained: 900}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if r.Slots["n3"] == nil {
		t.Error("n3 has no summary")
	}
}

func TestSlotMissing(t *testing.T) {
	runCases(t, []ruleCase{
		{"there", func(w *world) { w.sample(sampleAt("n2", 5, 100)) }, ""},
		{"not there", func(w *world) {
			w.sample(sampleAt("n2", 5, 100), change(sampleAt("n2", 6, 1), func(s *rundir.Sample) { s.Slot = nil }), sampleAt("n2", 7, 100))
		}, "slot_missing n2"},
		{"restart_lsn is null", func(w *world) { w.sample(sampleAt("n2", 5, 0)) }, "slot_missing n2"},
		{"the node did not answer", func(w *world) { w.sample(rundir.Sample{At: at(5), End: at(6), Node: "n2", Error: "refused"}) }, ""},
		{"before set-up was over", func(w *world) {
			w.sample(change(sampleAt("n2", 0.5, 1), func(s *rundir.Sample) { s.Slot = nil }))
		}, ""},
	})
}

// origin is a sample of a node that shows its progress for one origin.
func origin(node string, seconds float64, position rundir.LSN, from string, remote, local rundir.LSN) rundir.Sample {
	s := sampleAt(node, seconds, position)
	s.Origins = []rundir.Origin{{Node: from, Remote: remote, Local: local}}
	return s
}

func TestSlotOverran(t *testing.T) {
	base := func(w *world, p ...rundir.Sample) {
		w.sample(origin("n2", 5, 100, "n1", 7000, 150), origin("n2", 6, 100, "n1", 8000, 300), origin("n2", 7, 300, "n1", 8000, 300))
		w.sample(p...)
	}
	runCases(t, []ruleCase{
		{"the peer has what the slot passed", func(w *world) { base(w, origin("n3", 8, 100, "n1", 8000, 90)) }, ""},
		{"the peer lacks it", func(w *world) { base(w, origin("n3", 8, 100, "n1", 7999, 90)) }, "slot_overran n2"},
		{"the peer lacked it before the slot passed it", func(w *world) { base(w, origin("n3", 6.9, 100, "n1", 7000, 90)) }, ""},
		{"the reads overlap", func(w *world) { base(w, origin("n3", 7.005, 100, "n1", 7000, 90)) }, ""},
		{"the peer's progress is not known", func(w *world) { base(w, sampleAt("n3", 8, 100), origin("n3", 9, 100, "n1", 0, 0)) }, ""},
		{"the peer is the origin", func(w *world) { base(w, origin("n1", 8, 100, "n1", 1, 1)) }, ""},
		{"the slot stays before it", func(w *world) {
			w.sample(origin("n2", 5, 100, "n1", 7000, 150), origin("n2", 6, 299, "n1", 8000, 300), origin("n3", 8, 100, "n1", 7000, 90))
		}, ""},
		{"the slot passes it two samples later", func(w *world) {
			w.sample(origin("n2", 5, 100, "n1", 7000, 150), origin("n2", 6, 100, "n1", 8000, 300), origin("n2", 7, 100, "n1", 9000, 400), origin("n2", 8, 350, "n1", 9500, 500))
			w.sample(origin("n3", 9, 100, "n1", 7900, 90))
		}, "slot_overran n2"},
		{"no local position after a restart", func(w *world) {
			w.sample(origin("n2", 5, 100, "n1", 7000, 0), origin("n2", 6, 300, "n1", 8000, 0), origin("n3", 8, 100, "n1", 7000, 90))
		}, ""},
		{"where the subscription began is no transaction", func(w *world) {
			w.sample(origin("n2", 5, 300, "n1", 8000, 300), origin("n2", 6, 300, "n1", 8000, 300), origin("n3", 8, 100, "n1", 7000, 90))
		}, ""},
		{"a local commit that was flushed later", func(w *world) {
			w.sample(change(origin("n2", 5, 100, "n1", 7000, 150), func(s *rundir.Sample) { s.FlushLSN = 200 }),
				change(origin("n2", 6, 100, "n1", 8000, 300), func(s *rundir.Sample) { s.FlushLSN = 250 }))
			w.sample(sampleAt("n2", 7, 300), origin("n3", 8, 100, "n1", 7000, 90))
		}, "slot_overran n2"},
		{"a local commit that was flushed before a crash", func(w *world) {
			w.sample(origin("n2", 5, 100, "n1", 7000, 150), origin("n2", 6, 100, "n1", 8000, 300))
			w.sample(epoch(sampleAt("n2", 7, 300), 6.5, 1000, 0), origin("n3", 8, 100, "n1", 7000, 90))
		}, "slot_overran n2"},
		{"a local commit that was not seen flushed before a crash", func(w *world) {
			w.sample(change(origin("n2", 5, 100, "n1", 7000, 150), func(s *rundir.Sample) { s.FlushLSN = 200 }),
				change(origin("n2", 6, 100, "n1", 8000, 300), func(s *rundir.Sample) { s.FlushLSN = 250 }))
			w.sample(epoch(sampleAt("n2", 7, 300), 6.5, 1000, 0), origin("n3", 8, 100, "n1", 7000, 90))
		}, ""},
		{"the origin is lost and the peer still needs it", func(w *world) { base(w, origin("n3", 32, 100, "n1", 7000, 90)) }, "slot_overran n2"},
		{"the peer is lost and needs nothing", func(w *world) {
			w.sample(origin("n2", 5, 100, "n3", 7000, 150), origin("n2", 6, 100, "n3", 8000, 300), origin("n2", 7, 300, "n3", 8000, 300))
			w.sample(origin("n1", 31, 100, "n3", 7000, 90))
		}, ""},
		{"the peer was not yet lost", func(w *world) {
			w.sample(origin("n2", 5, 100, "n3", 7000, 150), origin("n2", 6, 100, "n3", 8000, 300), origin("n2", 7, 300, "n3", 8000, 300))
			w.sample(origin("n1", 29, 100, "n3", 7000, 90))
		}, "slot_overran n2"},
		{"it stands at the end of the WAL", func(w *world) { w.sample(sampleAt("n2", 5, 1000)) }, ""},
		{"it stands beyond the end of the WAL", func(w *world) { w.sample(sampleAt("n2", 5, 1001)) }, "slot_overran n2"},
		{"only confirmed_flush_lsn does", func(w *world) {
			w.sample(change(sampleAt("n2", 5, 900), func(s *rundir.Sample) { s.Slot.Confirmed = 5000 }))
		}, "slot_overran n2"},
		{"wal_status lost", func(w *world) {
			w.sample(change(sampleAt("n2", 5, 100), func(s *rundir.Sample) { s.Slot.WALStatus = "lost" }))
		}, "slot_overran n2"},
		{"wal_status unreserved", func(w *world) {
			w.sample(change(sampleAt("n3", 5, 100), func(s *rundir.Sample) { s.Slot.WALStatus = "unreserved" }))
		}, "slot_overran n3"},
		{"wal_status extended", func(w *world) {
			w.sample(change(sampleAt("n3", 5, 100), func(s *rundir.Sample) { s.Slot.WALStatus = "extended" }))
		}, ""},
	})
}

func TestSlotStalled(t *testing.T) {
	series := func(positions ...rundir.LSN) func(*world) {
		return func(w *world) {
			for i, p := range positions {
				w.sample(sampleAt("n2", 40.5+float64(i), p))
			}
		}
	}
	runCases(t, []ruleCase{
		{"it reaches what was flushed", series(100, 100, 500, 1000), ""},
		{"it does not move", series(100, 100, 100, 100), "slot_stalled n2"},
		{"it moves and does not reach it", series(100, 500, 900, 999), "slot_stalled n2"},
		{"it is there at once", series(1000), ""},
		{"WAL written since need not be reached", func(w *world) {
			w.sample(sampleAt("n2", 41, 100), change(sampleAt("n2", 44, 1000), func(s *rundir.Sample) { s.FlushLSN = 2000 }))
		}, ""},
		{"the watcher was blind", series(100), ""},
		{"settling was cut short", func(w *world) {
			series(100, 100)(w)
			w.round.StallLimit *= 10
		}, ""},
		{"the survivors never agreed", func(w *world) {
			series(100, 100, 100, 100)(w)
			w.round.Quiesced = false
		}, "not_converging"},
		{"a lost node's slot does not count", func(w *world) { w.sample(sampleAt("n1", 41, 100), sampleAt("n1", 44, 100)) }, ""},
	})
}
