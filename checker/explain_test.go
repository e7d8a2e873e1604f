package checker

import (
	"strings"
	"testing"
	"time"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/workload/history"
)

// gaveUp says that a node's engine has an entry about what some transaction made of a row.
func (w *world) gaveUp(node, table string, deleted bool, origin string, committed time.Time, columns map[string]int64) *world {
	w.explanations = append(w.explanations, rundir.Explanation{Node: node, Source: "spock.resolutions", Entry: "skip",
		Row: &rundir.RowVersion{Table: table, Columns: columns, Deleted: deleted, Origin: origin, CommittedAt: committed}})
	return w
}

// during is a time while the session's operation n was on its way.
func (s *testSession) during(n int64) time.Time {
	return s.ops[n-1].InvokedAt.Add(5 * time.Millisecond)
}

// older gives a register on a node the value that an earlier operation made.
func (w *world) older(node string, s *testSession, key, n, value int64) {
	w.edit(node, func(t *tables) {
		r := t.row(rundir.TableRegister, key)
		r[2], r[3] = n, value
	})
}

func TestExplainedRegister(t *testing.T) {
	// Register 1 is written by 1, 2 and 3; n3 has what 2 made of it.
	base := func(w *world) (s *testSession, columns func(n, value int64) map[string]int64) {
		s = w.session(1, "n1")
		s.ok(insert(s.key(1), 11), insert(s.key(2), 21)).ok(update(s.key(1), 12)).ok(update(s.key(1), 13)).ok()
		w.older("n3", s, s.key(1), 2, 12)
		return s, func(n, value int64) map[string]int64 {
			return map[string]int64{"key": s.key(1), "session": 1, "n": n, "value": value}
		}
	}
	runCases(t, []ruleCase{
		{"no entry", func(w *world) { base(w) }, "torn n3"},
		{"the write was dropped", func(w *world) {
			s, row := base(w)
			w.gaveUp("n3", rundir.TableRegister, false, "n1", s.during(3), row(3, 13))
		}, "explained_loss n3"},
		{"an earlier write was dropped", func(w *world) {
			s, row := base(w)
			w.gaveUp("n3", rundir.TableRegister, false, "n1", s.during(2), row(2, 12))
		}, "torn n3"},
		{"an earlier write of that value was dropped", func(w *world) {
			s, row := base(w)
			w.gaveUp("n3", rundir.TableRegister, false, "n1", s.during(2), row(2, 13))
		}, "torn n3"},
		{"the write was dropped on another node", func(w *world) {
			s, row := base(w)
			w.gaveUp("n2", rundir.TableRegister, false, "n1", s.during(3), row(3, 13))
		}, "torn n3"},
		{"a write to another register was dropped", func(w *world) {
			s, row := base(w)
			r := row(3, 13)
			r["key"] = s.key(2)
			w.gaveUp("n3", rundir.TableRegister, false, "n1", s.during(3), r)
		}, "torn n3"},
		{"a row of another table was dropped", func(w *world) {
			s, row := base(w)
			w.gaveUp("n3", rundir.TableCounter, false, "n1", s.during(3), row(3, 13))
			w.gaveUp("n3", rundir.TableLedger, false, "n1", s.during(3), row(3, 13))
		}, "torn n3"},
		{"it came from another node", func(w *world) {
			s, row := base(w)
			w.gaveUp("n3", rundir.TableRegister, false, "n2", s.during(3), row(3, 13))
		}, "torn n3"},
		{"another value was dropped", func(w *world) {
			s, row := base(w)
			w.gaveUp("n3", rundir.TableRegister, false, "n1", s.during(3), row(3, 14))
		}, "torn n3"},
		{"another session's", func(w *world) {
			s, row := base(w)
			r := row(3, 13)
			r["session"] = 2
			w.gaveUp("n3", rundir.TableRegister, false, "n1", s.during(3), r)
		}, "torn n3"},
		{"what does not say whose it is", func(w *world) {
			s, _ := base(w)
			w.gaveUp("n3", rundir.TableRegister, false, "n1", s.during(3), map[string]int64{"key": s.key(1)})
		}, "torn n3"},
		{"a delete was dropped, not the write", func(w *world) {
			s, row := base(w)
			w.gaveUp("n3", rundir.TableRegister, true, "n1", s.during(3), row(3, 13))
		}, "torn n3"},
		{"the row is not there at all", func(w *world) {
			s, row := base(w)
			w.edit("n3", func(t *tables) { t.remove(rundir.TableRegister, is(s.key(1))) })
			w.gaveUp("n3", rundir.TableRegister, false, "n1", s.during(3), row(3, 13))
		}, "explained_loss n3"},
		{"nothing excuses a value that nobody wrote", func(w *world) {
			s, row := base(w)
			w.older("n3", s, s.key(1), 2, 99)
			w.gaveUp("n3", rundir.TableRegister, false, "n1", s.during(3), row(3, 13))
		}, "phantom n3"},
		{"nor a value of a transaction that is not there", func(w *world) {
			s, row := base(w)
			w.lacks("n3", s, 2)
			w.gaveUp("n3", rundir.TableRegister, false, "n1", s.during(3), row(3, 13))
		}, "lost n3, torn n3"},
		{"both survivors, one explained", func(w *world) {
			s, row := base(w)
			w.older("n2", s, s.key(1), 2, 12)
			w.gaveUp("n2", rundir.TableRegister, false, "n1", s.during(3), row(3, 13))
		}, "explained_loss n2, torn n3"},
		{"a transaction that was given up, and came by another way", func(w *world) {
			s, row := base(w)
			w.gaveUp("n3", rundir.TableRegister, false, "n1", s.during(3), row(3, 13))
			w.explanations = append(w.explanations, rundir.Explanation{Node: "n3", Session: 1, N: 3, Source: "spock.exception_log"})
		}, "torn n3"},
		{"another register is wrong beside it", func(w *world) {
			s, row := base(w)
			w.edit("n3", func(t *tables) { t.remove(rundir.TableRegister, is(s.key(2))) })
			w.gaveUp("n3", rundir.TableRegister, false, "n1", s.during(3), row(3, 13))
		}, "explained_loss n3, torn n3"},
		{"the insert was dropped, its later update was not", func(w *world) {
			s := w.session(1, "n1")
			s.ok(insert(s.key(1), 11)).ok(del(s.key(1))).ok(insert(s.key(1), 13)).ok(update(s.key(1), 14))
			w.edit("n3", func(t *tables) {
				t.row(rundir.TableRegister, s.key(1))[4] = history.PadSum(history.Pad(testSeed, s.key(1), 1))
			})
			w.gaveUp("n3", rundir.TableRegister, false, "n1", s.during(3), map[string]int64{"key": s.key(1), "session": 1, "n": 3, "value": 13})
		}, "explained_loss n3"},
	})
}

func TestExplainedRemoval(t *testing.T) {
	// Register 1 is deleted by 2, made anew by 3, deleted by 4; n3 has what 3 made of it.
	base := func(w *world) *testSession {
		s := w.session(1, "n1")
		s.ok(insert(s.key(1), 11)).ok(del(s.key(1))).ok(insert(s.key(1), 13)).ok(del(s.key(1))).ok()
		w.edit("n3", func(t *tables) {
			t.insert(rundir.TableRegister, s.key(1), 1, 3, 13, history.PadSum(history.Pad(testSeed, s.key(1), 3)))
		})
		return s
	}
	runCases(t, []ruleCase{
		{"no entry", func(w *world) { base(w) }, "resurrected n3"},
		{"the delete was dropped", func(w *world) {
			s := base(w)
			w.gaveUp("n3", rundir.TableRegister, true, "n1", s.during(4), map[string]int64{"key": s.key(1)})
		}, "explained_loss n3"},
		{"an earlier delete was dropped", func(w *world) {
			s := base(w)
			w.gaveUp("n3", rundir.TableRegister, true, "n1", s.during(2), map[string]int64{"key": s.key(1)})
		}, "resurrected n3"},
		{"a delete after the answer was dropped", func(w *world) {
			s := base(w)
			w.gaveUp("n3", rundir.TableRegister, true, "n1", s.during(5), map[string]int64{"key": s.key(1)})
		}, "resurrected n3"},
		{"another node's delete was dropped", func(w *world) {
			s := base(w)
			w.gaveUp("n3", rundir.TableRegister, true, "n2", s.during(4), map[string]int64{"key": s.key(1)})
		}, "resurrected n3"},
		{"a write was dropped, not the delete", func(w *world) {
			s := base(w)
			w.gaveUp("n3", rundir.TableRegister, false, "n1", s.during(4), map[string]int64{"key": s.key(1), "session": 1, "n": 4})
		}, "resurrected n3"},
		{"a delete whose answer never came", func(w *world) {
			s := base(w)
			s.ops[3].Outcome = history.Unknown
			w.has("n2", s, 4).has("n3", s, 4)
			w.gaveUp("n3", rundir.TableRegister, true, "n1", s.during(5), map[string]int64{"key": s.key(1)})
		}, "explained_loss n3"},
		{"a delete that was given up with its transaction, which came by another way", func(w *world) {
			s := base(w)
			w.gaveUp("n3", rundir.TableRegister, true, "n1", s.during(4), map[string]int64{"key": s.key(1)})
			w.explanations = append(w.explanations, rundir.Explanation{Node: "n3", Session: 1, N: 4, Source: "spock.exception_log"})
		}, "resurrected n3"},
		{"a value of a failed write, though a later delete was dropped", func(w *world) {
			s := w.session(1, "n1")
			s.ok(insert(s.key(1), 11)).fail(update(s.key(1), 12)).ok(del(s.key(1)))
			w.edit("n3", func(t *tables) {
				t.insert(rundir.TableRegister, s.key(1), 1, 2, 12, history.PadSum(history.Pad(testSeed, s.key(1), 1)))
			})
			w.gaveUp("n3", rundir.TableRegister, true, "n1", s.during(3), map[string]int64{"key": s.key(1)})
		}, "resurrected n3"},
		{"the change of the key was dropped", func(w *world) {
			s := w.session(1, "n1")
			s.ok(insert(s.key(1), 11)).ok(rekey(s.key(1), s.key(2)))
			w.edit("n3", func(t *tables) {
				r := t.row(rundir.TableRegister, s.key(2))
				r[0], r[2] = s.key(1), 1
			})
			w.gaveUp("n3", rundir.TableRegister, false, "n1", s.during(2), map[string]int64{"key": s.key(2), "session": 1, "n": 2, "value": 11})
		}, "explained_loss n3"},
	})
}

func TestExplainedBalances(t *testing.T) {
	// Counter 1 of n1 holds 7 in the end, and n3 has 3.
	base := func(w *world) *testSession {
		s := w.session(1, "n1").ok(count(1, 3)).ok(count(1, 4)).ok(count(2, 1)).ok()
		w.edit("n3", func(t *tables) { t.row(rundir.TableCounter, 1)[1] = 3 })
		return s
	}
	runCases(t, []ruleCase{
		{"no entry", func(w *world) { base(w) }, "torn n3"},
		{"the last write was dropped", func(w *world) {
			s := base(w)
			w.gaveUp("n3", rundir.TableCounter, false, "n1", s.during(2), map[string]int64{"key": 1, "value": 7})
		}, "explained_loss n3"},
		{"the row is not there", func(w *world) {
			s := base(w)
			w.edit("n3", func(t *tables) { t.remove(rundir.TableCounter, is(1)) })
			w.gaveUp("n3", rundir.TableCounter, false, "n1", s.during(2), map[string]int64{"key": 1, "value": 7})
		}, "explained_loss n3"},
		{"another value was dropped", func(w *world) {
			s := base(w)
			w.gaveUp("n3", rundir.TableCounter, false, "n1", s.during(2), map[string]int64{"key": 1, "value": 3})
		}, "torn n3"},
		{"the value was dropped before the last write", func(w *world) {
			s := base(w)
			w.gaveUp("n3", rundir.TableCounter, false, "n1", s.during(1), map[string]int64{"key": 1, "value": 7})
		}, "torn n3"},
		{"another counter was dropped", func(w *world) {
			s := base(w)
			w.gaveUp("n3", rundir.TableCounter, false, "n1", s.during(2), map[string]int64{"key": 2, "value": 7})
		}, "torn n3"},
		{"an account of that number was dropped", func(w *world) {
			s := base(w)
			w.gaveUp("n3", rundir.TableAccount, false, "n1", s.during(2), map[string]int64{"id": 1, "balance": 7})
		}, "torn n3"},
		{"on another node", func(w *world) {
			s := base(w)
			w.gaveUp("n2", rundir.TableCounter, false, "n1", s.during(2), map[string]int64{"key": 1, "value": 7})
		}, "torn n3"},
		{"from another node", func(w *world) {
			s := base(w)
			w.gaveUp("n3", rundir.TableCounter, false, "n2", s.during(2), map[string]int64{"key": 1, "value": 7})
		}, "torn n3"},
		{"that of a shared counter was dropped", func(w *world) {
			w.run.Workload.SharedCounters = history.Counters{First: 201, Count: 1}
			s := w.session(1, "n1").ok(count(201, 7))
			w.edit("n3", func(t *tables) { t.row(rundir.TableCounter, 201)[1] = 0 })
			w.gaveUp("n3", rundir.TableCounter, false, "n1", s.during(1), map[string]int64{"key": 201, "value": 7})
		}, "torn n3"},
		{"too much is never explained", func(w *world) {
			s := base(w)
			w.edit("n3", func(t *tables) { t.row(rundir.TableCounter, 1)[1] = 9 })
			w.gaveUp("n3", rundir.TableCounter, false, "n1", s.during(2), map[string]int64{"key": 1, "value": 7})
		}, "doubled n3"},
		{"an account; the bank's total stays wrong", func(w *world) {
			s := w.session(1, "n1").ok(transfer(101, 102, 30)).ok()
			w.edit("n3", func(t *tables) { t.row(rundir.TableAccount, 102)[1] = 1000 })
			w.gaveUp("n3", rundir.TableAccount, false, "n1", s.during(1), map[string]int64{"id": 102, "balance": 1030})
		}, "explained_loss n3, torn n3"},
	})
}

// What no survivor has although a later write of the session is there, and who says why.
func TestExplainedHoles(t *testing.T) {
	gaveUp := func(w *world, node string, numbers ...int64) {
		for _, n := range numbers {
			w.explanations = append(w.explanations, rundir.Explanation{Node: node, Session: 1, N: n, Source: "spock.exception_log", Entry: "discarded"})
		}
	}
	hole := func(w *world) *testSession {
		s := w.session(1, "n1").ok().ok().ok().ok().ok()
		w.lacks("n2", s, 2, 3, 4).lacks("n3", s, 2, 3, 4)
		return s
	}
	runCases(t, []ruleCase{
		{"no entry", func(w *world) { hole(w) }, "out_of_order n2, out_of_order n3"},
		{"both gave all up", func(w *world) { hole(w); gaveUp(w, "n2", 2, 3, 4); gaveUp(w, "n3", 2, 3, 4) }, "explained_loss n2, explained_loss n3"},
		{"one gave all up, and the other was rescued from it", func(w *world) { hole(w); gaveUp(w, "n2", 2, 3, 4) }, "explained_loss n2, out_of_order n3"},
		{"some of them", func(w *world) { hole(w); gaveUp(w, "n2", 3) }, "explained_loss n2, out_of_order n2, out_of_order n3"},
		{"others", func(w *world) { hole(w); gaveUp(w, "n2", 1, 5) }, "out_of_order n2, out_of_order n3"},
		{"while an observation covers them", func(w *world) {
			s := hole(w)
			w.observe("n2", 10, true, s, 0, 1)
			w.observe("n2", 20, true, s, 1, 5)
			gaveUp(w, "n2", 2, 3, 4)
			gaveUp(w, "n3", 2, 3)
		}, "explained_loss n2, explained_loss n3, out_of_order n2, out_of_order n3"},
	})
	w := newWorld(t)
	hole(w)
	gaveUp(w, "n2", 2, 3, 4)
	r, err := Check(t.Context(), w.write())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range r.Rounds[0].Findings {
		if want := map[string]string{"n2": "; spock.exception_log there says why (3 alike)", "n3": "; spock.exception_log on n2 says why that one lacks it (3 alike)"}[f.Node]; f.Count != 3 || !strings.HasSuffix(f.Summary, want) {
			t.Errorf("%s: %q, %d", f.Node, f.Summary, f.Count)
		}
	}
}
