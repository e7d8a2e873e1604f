package checker

import (
	"testing"

	"github.com/spockchaos/spockchaos/checker/rundir"
)

func TestDiverged(t *testing.T) {
	runCases(t, []ruleCase{
		{"unknown, applied everywhere", func(w *world) {
			s := w.session(1, "n1").ok().unknown().ok()
			w.has("n2", s, 2).has("n3", s, 2)
		}, ""},
		{"unknown, applied nowhere", func(w *world) { w.session(1, "n1").ok().unknown().ok() }, ""},
		{"unknown, applied here and not there", func(w *world) { w.has("n2", w.session(1, "n1").ok().unknown(), 2) }, "diverged n3"},
		{"so too for a survivor's own write", func(w *world) { w.has("n3", w.session(1, "n2").unknown(), 1) }, "diverged n2"},
	})
}

func TestResurrectedMarker(t *testing.T) {
	runCases(t, []ruleCase{
		{"a failed write is nowhere", func(w *world) { w.session(1, "n1").fail().ok() }, ""},
		{"a failed write is there", func(w *world) { w.has("n2", w.session(1, "n1").fail().ok(), 1) }, "resurrected n2"},
		{"everywhere", func(w *world) {
			s := w.session(1, "n2").fail()
			w.has("n2", s, 1).has("n3", s, 1)
		}, "resurrected n2, resurrected n3"},
	})
}

func TestMarkers(t *testing.T) {
	runCases(t, []ruleCase{
		{"a value nobody wrote", func(w *world) {
			w.session(1, "n1").ok().ok()
			w.edit("n2", func(t *tables) { (*t)[rundir.TableLedger][1][2]++ })
		}, "phantom n2"},
		{"a row past the session's end", func(w *world) {
			w.session(1, "n1").ok()
			w.edit("n2", func(t *tables) { t.insert(rundir.TableLedger, 1, 2, 7) })
		}, "phantom n2"},
		{"a row before its beginning", func(w *world) {
			w.session(1, "n1").ok()
			w.edit("n2", func(t *tables) { t.insert(rundir.TableLedger, 1, 0, 7) })
		}, "phantom n2"},
		{"rows of sessions that never were", func(w *world) {
			w.session(5, "n1").ok()
			w.edit("n2", func(t *tables) { t.insert(rundir.TableLedger, 4, 1, 7); t.insert(rundir.TableLedger, 6, 1, 7) })
		}, "phantom n2"},
		{"a row twice", func(w *world) {
			w.session(1, "n1").ok().ok()
			w.edit("n3", func(t *tables) { t.insert(rundir.TableLedger, (*t)[rundir.TableLedger][0]...) })
		}, "doubled n3"},
	})
}

func TestHolesAreNotRPO(t *testing.T) {
	runCases(t, []ruleCase{
		{"a later write of the session is on a survivor", func(w *world) {
			s := w.session(1, "n1").ok().ok().ok()
			w.lacks("n2", s, 2).lacks("n3", s, 2)
		}, "out_of_order n2, out_of_order n3"},
		{"on one survivor only", func(w *world) {
			s := w.session(1, "n1").ok().ok().ok()
			w.lacks("n2", s, 2).lacks("n3", s, 2, 3)
		}, "lost n3, out_of_order n2"},
		{"the later one is of unknown outcome", func(w *world) {
			s := w.session(1, "n1").ok().ok().unknown()
			w.lacks("n2", s, 2).lacks("n3", s, 2).has("n2", s, 3).has("n3", s, 3)
		}, "out_of_order n2, out_of_order n3"},
		{"an unknown one before it is on no survivor", func(w *world) { w.session(1, "n1").ok().unknown().ok() }, ""},
		{"writes of another session say nothing", func(w *world) {
			s := w.session(1, "n1").ok().ok()
			w.session(2, "n1").ok().ok()
			w.lacks("n2", s, 1, 2).lacks("n3", s, 1, 2)
		}, ""},
		{"a hole behind a long tail", func(w *world) {
			s := w.session(1, "n1")
			for range 20 {
				s.ok()
			}
			for n := range int64(18) {
				w.lacks("n2", s, 2+n).lacks("n3", s, 2+n)
			}
			w.observe("n2", 10, true, s, 0, 1)
		}, "out_of_order n2, out_of_order n3"},
	})
}

func TestVanished(t *testing.T) {
	rpo := func(w *world) *testSession {
		s := w.session(1, "n1").ok().ok().ok()
		w.lacks("n2", s, 2, 3).lacks("n3", s, 2, 3)
		return s
	}
	runCases(t, []ruleCase{
		{"seen durably on a survivor", func(w *world) { w.observe("n2", 5, true, rpo(w), 0, 1, 2) }, "vanished n2"},
		{"seen by the second of two observations", func(w *world) {
			s := rpo(w)
			w.observe("n2", 5, true, s, 0, 1).observe("n2", 6, true, s, 1, 2)
		}, "vanished n2"},
		{"seen, but not durably", func(w *world) { w.observe("n2", 5, false, rpo(w), 0, 1, 2) }, ""},
		{"seen on the lost node", func(w *world) { w.observe("n1", 5, true, rpo(w), 0, 1, 2, 3) }, ""},
		{"only the write before it was seen", func(w *world) { w.observe("n2", 5, true, rpo(w), 0, 1) }, ""},
		{"an unknown write was seen", func(w *world) {
			s := w.session(1, "n1").ok().unknown()
			w.observe("n3", 5, true, s, 0, 1, 2)
		}, "vanished n3"},
		{"one of two unknown writes was seen", func(w *world) {
			s := w.session(1, "n1").ok().unknown().unknown().ok()
			w.observe("n3", 5, true, s, 0, 1, 3, 4)
		}, "vanished n3"},
		{"an unknown write was not seen", func(w *world) {
			s := w.session(1, "n1").ok().unknown().ok()
			w.observe("n3", 5, true, s, 0, 1, 3)
		}, ""},
		{"seen, and still there", func(w *world) { w.observe("n3", 5, true, w.session(1, "n1").ok().ok(), 0, 1, 2) }, ""},
	})
}

func TestVanishedIsNotRPO(t *testing.T) {
	w := newWorld(t)
	s := w.session(1, "n1").ok().ok().ok()
	w.lacks("n2", s, 2, 3).lacks("n3", s, 2, 3).observe("n2", 5, true, s, 0, 1, 2)
	if r := w.check(); r.RPO.Writes != 1 {
		t.Errorf("%d writes gone by design, want 1: %+v", r.RPO.Writes, r.Findings)
	}
}
