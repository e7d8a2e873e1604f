package checker

import (
	"testing"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/workload/history"
)

// row returns the first row of a table that begins with the given values.
func (t tables) row(table string, head ...int64) []int64 {
next:
	for _, r := range t[table] {
		for i, v := range head {
			if r[i] != v {
				continue next
			}
		}
		return r
	}
	panic("no such row")
}

func is(head ...int64) func([]int64) bool {
	return func(r []int64) bool {
		for i, v := range head {
			if r[i] != v {
				return false
			}
		}
		return true
	}
}

func TestEvents(t *testing.T) {
	base := func(w *world) *testSession {
		return w.session(1, "n1").ok(event(3)).fail(event(2)).unknown(event(2)).ok(event(1))
	}
	runCases(t, []ruleCase{
		{"as written", func(w *world) { base(w) }, ""},
		{"unknown and there", func(w *world) { w.has("n2", base(w), 3).has("n3", w.sessions[0], 3) }, ""},
		{"one twice", func(w *world) {
			base(w)
			w.edit("n2", func(t *tables) { t.insert(rundir.TableEvent, 1, 1, 2) })
		}, "doubled n2"},
		{"all of a transaction twice", func(w *world) {
			base(w)
			w.edit("n2", func(t *tables) { t.insert(rundir.TableEvent, 1, 4, 0) })
		}, "doubled n2"},
		{"one missing", func(w *world) {
			base(w)
			w.edit("n2", func(t *tables) { t.remove(rundir.TableEvent, is(1, 1, 1)) })
		}, "torn n2"},
		{"the last missing", func(w *world) {
			base(w)
			w.edit("n2", func(t *tables) { t.remove(rundir.TableEvent, is(1, 1, 2)) })
		}, "torn n2"},
		{"all missing", func(w *world) {
			base(w)
			w.edit("n2", func(t *tables) { t.remove(rundir.TableEvent, is(1, 4)) })
		}, "torn n2"},
		{"one too many", func(w *world) {
			base(w)
			w.edit("n2", func(t *tables) { t.insert(rundir.TableEvent, 1, 4, 1) })
		}, "phantom n2"},
		{"of a failed transaction", func(w *world) {
			base(w)
			w.edit("n2", func(t *tables) { t.insert(rundir.TableEvent, 1, 2, 0) })
		}, "resurrected n2"},
		{"without the marker", func(w *world) {
			base(w)
			w.edit("n2", func(t *tables) { t.insert(rundir.TableEvent, 1, 3, 0) })
		}, "torn n2"},
		{"that nobody wrote", func(w *world) {
			base(w)
			w.edit("n2", func(t *tables) {
				t.insert(rundir.TableEvent, 1, 0, 0)
				t.insert(rundir.TableEvent, 1, 5, 0)
				t.insert(rundir.TableEvent, 2, 1, 0)
			})
		}, "phantom n2"},
		{"gone with the lost node", func(w *world) { w.lacks("n2", base(w), 4).lacks("n3", w.sessions[0], 4) }, ""},
	})
}

func TestBulk(t *testing.T) {
	base := func(w *world) *testSession {
		return w.session(1, "n1").ok(bulk(100)).ok(bulk(50)).ok(bulkDelete(1)).fail(bulk(7)).ok()
	}
	runCases(t, []ruleCase{
		{"as written", func(w *world) { base(w) }, ""},
		{"a delete that no survivor has removes nothing", func(w *world) {
			s := base(w)
			w.lacks("n2", s, 3, 5).lacks("n3", s, 3, 5)
		}, ""},
		{"fewer rows", func(w *world) {
			base(w)
			w.edit("n2", func(t *tables) { t.row(rundir.TableBulk, 1, 2)[2]-- })
		}, "torn n2"},
		{"more rows", func(w *world) {
			base(w)
			w.edit("n2", func(t *tables) { t.row(rundir.TableBulk, 1, 2)[2]++ })
		}, "doubled n2"},
		{"other rows", func(w *world) {
			base(w)
			w.edit("n2", func(t *tables) { t.row(rundir.TableBulk, 1, 2)[3]++ })
		}, "phantom n2"},
		{"no rows", func(w *world) {
			base(w)
			w.edit("n2", func(t *tables) { t.remove(rundir.TableBulk, is(1, 2)) })
		}, "torn n2"},
		{"deleted and there", func(w *world) {
			base(w)
			w.edit("n2", func(t *tables) { t.insert(rundir.TableBulk, 1, 1, 100, 4950) })
		}, "resurrected n2"},
		{"failed and there", func(w *world) {
			base(w)
			w.edit("n2", func(t *tables) { t.insert(rundir.TableBulk, 1, 4, 7, 21) })
		}, "resurrected n2"},
		{"of a transaction that wrote none", func(w *world) {
			base(w)
			w.edit("n2", func(t *tables) { t.insert(rundir.TableBulk, 1, 5, 7, 21) })
		}, "phantom n2"},
		{"past the end, and of a session that never was", func(w *world) {
			base(w)
			w.edit("n2", func(t *tables) { t.insert(rundir.TableBulk, 1, 6, 7, 21); t.insert(rundir.TableBulk, 2, 1, 1, 0) })
		}, "phantom n2"},
		{"without the marker", func(w *world) {
			s := base(w)
			w.lacks("n2", s, 2, 3, 5).lacks("n3", s, 2, 3, 5)
			w.edit("n2", func(t *tables) { t.insert(rundir.TableBulk, 1, 2, 50, 1225) })
		}, "torn n2"},
	})
}

func TestRegisters(t *testing.T) {
	base := func(w *world) *testSession {
		s := w.session(1, "n1")
		return s.ok(insert(s.key(1), 10), insert(s.key(2), 20)). // 1
										ok(update(s.key(1), 11)).               // 2
										ok(rekey(s.key(2), s.key(3))).          // 3
										ok(insert(s.key(4), 40)).               // 4
										ok(del(s.key(4))).                      // 5
										fail(update(s.key(1), 12)).             // 6
										unknown(update(s.key(3), 21)).          // 7
										ok(insert(s.key(4), 41)).               // 8: the same key again
										ok(insert(s.key(5), 50), del(s.key(5))) // 9
	}
	const k = int64(1) << 32
	edit := func(f func(t *tables)) func(*world) {
		return func(w *world) { base(w); w.edit("n2", f) }
	}
	pad := func(key, n int64) int64 { return history.PadSum(history.Pad(testSeed, key, n)) }
	reg := rundir.TableRegister
	runCases(t, []ruleCase{
		{"as written", func(w *world) { base(w) }, ""},
		{"an unknown update is there", func(w *world) { w.has("n2", base(w), 7).has("n3", w.sessions[0], 7) }, ""},
		{"a delete that no survivor has leaves the row", func(w *world) {
			s := w.session(2, "n1")
			s.ok(insert(s.key(1), 1)).ok(del(s.key(1)))
			w.lacks("n2", s, 2).lacks("n3", s, 2)
		}, ""},
		{"a delete of unknown outcome that is nowhere leaves it too", func(w *world) {
			s := w.session(2, "n1")
			s.ok(insert(s.key(1), 1)).unknown(del(s.key(1)))
		}, ""},
		{"an older value", edit(func(t *tables) { r := t.row(reg, k+1); r[2], r[3] = 1, 10 }), "torn n2"},
		{"an older pad", edit(func(t *tables) { t.row(reg, k+4)[4] = pad(k+4, 4) }), "torn n2"},
		{"a row is missing", edit(func(t *tables) { t.remove(reg, is(k+1)) }), "torn n2"},
		{"a deleted row is there", edit(func(t *tables) { t.remove(reg, is(k+4)); t.insert(reg, k+4, 1, 4, 40, pad(k+4, 4)) }), "torn n2"},
		{"a row that was deleted for good is there", edit(func(t *tables) { t.insert(reg, k+5, 1, 9, 50, pad(k+5, 9)) }), "resurrected n2"},
		{"the old key of a moved row is there", edit(func(t *tables) { t.insert(reg, k+2, 1, 1, 20, pad(k+2, 1)) }), "resurrected n2"},
		{"the moved row kept its n", edit(func(t *tables) { t.row(reg, k+3)[2] = 1 }), "phantom n2"},
		{"the moved row got a new pad", edit(func(t *tables) { t.row(reg, k+3)[4] = pad(k+3, 3) }), "phantom n2"},
		{"a value nobody wrote", edit(func(t *tables) { t.row(reg, k+1)[3] = 99 }), "phantom n2"},
		{"a pad nobody wrote", edit(func(t *tables) { t.row(reg, k+1)[4]++ }), "phantom n2"},
		{"a session nobody was", edit(func(t *tables) { t.row(reg, k+1)[1] = 2 }), "phantom n2"},
		{"a key nobody wrote", edit(func(t *tables) { t.insert(reg, k+77, 1, 1, 1, 1) }), "phantom n2"},
		{"a key of a session that never was", edit(func(t *tables) { t.insert(reg, 9*k, 9, 1, 1, 1); t.insert(reg, 1, 1, 1, 1, 1) }), "phantom n2"},
		{"a failed update", edit(func(t *tables) { r := t.row(reg, k+1); r[2], r[3] = 6, 12 }), "resurrected n2"},
		{"an update without its marker", edit(func(t *tables) { r := t.row(reg, k+3); r[2], r[3] = 7, 21 }), "torn n2"},
		{"what a missing update wrote came along with a move", func(w *world) {
			s := w.session(2, "n1").ok(insert(2*k+1, 1)).ok(update(2*k+1, 2)).ok(rekey(2*k+1, 2*k+2))
			w.lacks("n2", s, 2)
			w.edit("n2", func(t *tables) { t.row(reg, 2*k+2)[3] = 2 })
		}, "lost n2, torn n2"},
		{"what a missing insert wrote came along with a move", func(w *world) {
			s := w.session(2, "n1").ok(insert(2*k+1, 1)).ok(del(2*k + 1)).ok(insert(2*k+1, 3)).ok(rekey(2*k+1, 2*k+2))
			w.lacks("n2", s, 3)
			w.edit("n2", func(t *tables) { t.insert(reg, 2*k+2, 2, 4, 3, pad(2*k+1, 3)) })
		}, "lost n2, torn n2"},
		{"what a move that is not there would have brought", func(w *world) {
			s := w.session(2, "n1").ok(insert(2*k+1, 1)).ok(update(2*k+1, 2)).unknown(rekey(2*k+1, 2*k+2)).ok()
			w.lacks("n2", s, 2)
			w.edit("n2", func(t *tables) { t.insert(reg, 2*k+2, 2, 3, 2, pad(2*k+1, 1)) })
		}, "lost n2, torn n2"},
		{"a row twice", edit(func(t *tables) { t.insert(reg, t.row(reg, k+1)...) }), "doubled n2"},
	})
}

func TestResurrectedRegister(t *testing.T) {
	build := func(w *world) *testSession {
		s := w.session(3, "n2")
		return s.ok(insert(s.key(1), 1)).ok(update(s.key(1), 2)).ok(del(s.key(1))).ok()
	}
	const k = int64(3) << 32
	runCases(t, []ruleCase{
		{"deleted and gone", func(w *world) { build(w) }, ""},
		{"deleted and there", func(w *world) {
			build(w)
			w.edit("n3", func(t *tables) {
				t.insert(rundir.TableRegister, k+1, 3, 2, 2, history.PadSum(history.Pad(testSeed, k+1, 1)))
			})
		}, "resurrected n3"},
	})
}

func TestCountersAndAccounts(t *testing.T) {
	base := func(w *world) {
		w.session(1, "n1").ok(count(1, 5), transfer(101, 102, 7)).fail(count(1, 100)).unknown(count(1, 1000)).ok(count(2, 1), transfer(102, 103, 2))
		w.session(2, "n1").ok(count(1, 2))
	}
	edit := func(f func(t *tables)) func(*world) {
		return func(w *world) { base(w); w.edit("n2", f) }
	}
	counter, account := rundir.TableCounter, rundir.TableAccount
	runCases(t, []ruleCase{
		{"as written", base, ""},
		{"an unknown increment is there", func(w *world) { base(w); w.has("n2", w.sessions[0], 3).has("n3", w.sessions[0], 3) }, ""},
		{"a counter is too high", edit(func(t *tables) { t.row(counter, 1)[1] += 5 }), "doubled n2"},
		{"too high by what a missing transaction added", func(w *world) {
			base(w)
			s := w.session(3, "n1").ok(count(1, 5)).ok(count(1, 4))
			w.lacks("n2", s, 1)
			w.edit("n2", func(t *tables) { t.row(counter, 1)[1] += 5 })
		}, "lost n2, torn n2"},
		{"too high by more than a missing transaction added", func(w *world) {
			base(w)
			s := w.session(3, "n1").ok(count(1, 5)).ok(count(1, 4))
			w.lacks("n2", s, 1)
			w.edit("n2", func(t *tables) { t.row(counter, 1)[1] += 6 })
		}, "doubled n2, lost n2"},
		{"too high, and the missing transaction failed", func(w *world) {
			base(w)
			w.edit("n2", func(t *tables) { t.row(counter, 1)[1] += 100 })
		}, "doubled n2"},
		{"a counter is too low", edit(func(t *tables) { t.row(counter, 1)[1]-- }), "torn n2"},
		{"a counter of a pool at rest is off", edit(func(t *tables) { t.row(counter, 12)[1]++ }), "doubled n2"},
		{"a counter is missing", edit(func(t *tables) { t.remove(counter, is(22)) }), "torn n2"},
		{"a counter nobody made", edit(func(t *tables) { t.insert(counter, 99, 0) }), "phantom n2"},
		{"a counter twice", edit(func(t *tables) { t.insert(counter, 1, 7) }), "doubled n2"},
		{"half a transfer", edit(func(t *tables) { t.row(account, 101)[1] += 7 }), "torn n2"},
		{"a transfer twice", edit(func(t *tables) { t.row(account, 101)[1] -= 7; t.row(account, 102)[1] += 7 }), "torn n2"},
		{"an account is missing", edit(func(t *tables) { t.remove(account, is(123)) }), "torn n2"},
		{"an account nobody made", edit(func(t *tables) { t.insert(account, 99, 0) }), "phantom n2"},
	})
}

// Increments from several nodes add up, on each survivor those whose markers it has.
func TestSharedCounters(t *testing.T) {
	base := func(w *world) {
		w.run.Workload.SharedCounters = history.Counters{First: 201, Count: 2}
		w.session(1, "n1").ok(count(1, 5), count(201, 10)).fail(count(201, 1000)).unknown(count(202, 100)).ok(count(201, 1))
		w.session(2, "n2").ok(count(201, 20), count(202, 2)).ok(count(11, 1))
		w.session(3, "n3").ok(count(201, 30)).ok(count(202, 3), count(202, 3))
	}
	edit := func(f func(t *tables)) func(*world) {
		return func(w *world) { base(w); w.edit("n2", f) }
	}
	counter := rundir.TableCounter
	runCases(t, []ruleCase{
		{"as written", base, ""},
		{"of all nodes, when one came back", func(w *world) { base(w); w.crash() }, ""},
		{"the lost node's last write is on no survivor", func(w *world) {
			base(w)
			w.lacks("n2", w.sessions[0], 4).lacks("n3", w.sessions[0], 4)
		}, ""},
		{"an unknown increment is there", func(w *world) { base(w); w.has("n2", w.sessions[0], 3).has("n3", w.sessions[0], 3) }, ""},
		{"a lost transaction is one finding", func(w *world) { base(w); w.lacks("n3", w.sessions[1], 1, 2) }, "lost n3"},
		{"differences bring nothing along", func(w *world) {
			base(w)
			w.lacks("n2", w.sessions[2], 1)
			w.edit("n2", func(t *tables) { t.row(counter, 201)[1] += 30 })
		}, "doubled n2, lost n2"},
		{"another node's difference twice", edit(func(t *tables) { t.row(counter, 201)[1] += 30 }), "doubled n2"},
		{"its own difference twice", edit(func(t *tables) { t.row(counter, 202)[1] += 2 }), "doubled n2"},
		{"another node's difference is missing", edit(func(t *tables) { t.row(counter, 201)[1] -= 30 }), "torn n2"},
		{"one of two in a transaction is missing", edit(func(t *tables) { t.row(counter, 202)[1] -= 3 }), "torn n2"},
		{"the last value won instead of the sum", edit(func(t *tables) { t.row(counter, 201)[1] = 31 }), "torn n2"},
		{"on both survivors", func(w *world) {
			base(w)
			for _, n := range []string{"n2", "n3"} {
				w.edit(n, func(t *tables) { t.row(counter, 201)[1] += 10 })
			}
		}, "doubled n2, doubled n3"},
		{"one doubled here, one missing there", func(w *world) {
			base(w)
			w.edit("n2", func(t *tables) { t.row(counter, 201)[1] += 10 }).edit("n3", func(t *tables) { t.row(counter, 201)[1] -= 10 })
		}, "doubled n2, torn n3"},
		{"a shared counter is missing", edit(func(t *tables) { t.remove(counter, is(202)) }), "torn n2"},
		{"a counter that was not shared in this run", func(w *world) {
			w.session(1, "n1").ok()
			w.edit("n2", func(t *tables) { t.insert(counter, 201, 0) })
		}, "phantom n2"},
	})
}

// Survivors that differ are each compared with what their own ledgers say.
func TestEachSurvivorIsJudgedByItsOwnLedger(t *testing.T) {
	runCases(t, []ruleCase{
		{"a lost transaction is one finding, not one per table", func(w *world) {
			s := w.session(1, "n1")
			s.ok(insert(s.key(1), 1), event(1), count(1, 1), bulk(3), transfer(101, 102, 1)).ok()
			s.ok(update(s.key(1), 2), event(2), count(1, 1), bulkDelete(1), transfer(101, 102, 1))
			w.lacks("n3", s, 3)
		}, "lost n3"},
		{"the same defect on both", func(w *world) {
			w.session(1, "n1").ok(event(1))
			for _, n := range []string{"n2", "n3"} {
				w.edit(n, func(t *tables) { t.insert(rundir.TableEvent, 1, 1, 0) })
			}
		}, "doubled n2, doubled n3"},
	})
}
