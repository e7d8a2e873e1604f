package checker

import (
	"fmt"
	"slices"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/workload/history"
)

// register is what a register must hold.
type register struct {
	n, value    int64
	padKey, pad int64 // the pad is Pad(seed, padKey, pad): of the insert it comes from
}

// registerReplay applies the transactions of one session that are there, in their
// order. It holds the session's live registers.
type registerReplay struct {
	live map[int64]register
}

func newRegisterReplay() registerReplay { return registerReplay{live: make(map[int64]register)} }

func (r *registerReplay) reset() { clear(r.live) }

func (r *registerReplay) apply(op *history.Op) {
	for i := range op.Effects {
		r.effect(op.N, &op.Effects[i])
	}
}

func (r *registerReplay) effect(n int64, e *history.Effect) {
	switch e.Kind {
	case history.RegisterInsert:
		r.live[e.Key] = register{n: n, value: e.Value, padKey: e.Key, pad: n}
	case history.RegisterUpdate:
		if x, ok := r.live[e.Key]; ok {
			x.n, x.value = n, e.Value
			r.live[e.Key] = x
		}
	case history.RegisterDelete:
		delete(r.live, e.Key)
	case history.RegisterRekey:
		if x, ok := r.live[e.Key]; ok {
			delete(r.live, e.Key)
			x.n = n
			r.live[e.Key2] = x
		}
	}
}

// wrongRegister is a register that does not hold what it must. Why is found by a second
// look at the history (autopsy).
type wrongRegister struct {
	key   int64
	have  *registerRow // nil: it is not there
	want  *register    // nil: it should not be there
	facts registerFacts
}

// registerRow is a register as a final snapshot has it.
type registerRow struct{ session, n, value, pad int64 }

// registerFacts is what a history says of a row in the wrong place.
type registerFacts struct {
	everWritten bool // some operation put something at this key
	written     bool // operation n put this value at this key
	brought     bool // it did so by moving what a transaction had written that is not there
	padKnown    bool // some operation put this pad at this key
	applied     bool // operation n is there
	outcome     history.Outcome
	removed     bool // a later operation that is there deleted it or moved it away
	op          history.Op
	remover     history.Op // the last of those, without effects
	removal     history.Effect
}

// maxWrong is how many wrong rows of one session and group are looked into one by one.
const maxWrong = 1 << 16

// compareRegisters compares the session's registers, as a sorted merge, with what the
// transactions that are there made.
func (w *walker) compareRegisters(i int, g *group, s *session) []*wrongRegister {
	live := w.registers[i].live
	keys := make([]int64, 0, len(live))
	for k := range live {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	var wrong []*wrongRegister
	note := func(x *wrongRegister) {
		if len(wrong) < maxWrong {
			wrong = append(wrong, x)
			return
		}
		w.onEach(g, Torn, rundir.TableRegister, 1, func(node string) example { return registerExample(s, node, x, "differs") })
	}
	pads := make([]byte, 0, history.PadLength)
	c, last, started := g.register, int64(0), false
	mine := func() bool { return c.row != nil && c.row[0]>>32 == s.id }
	for mine() || len(keys) > 0 {
		switch {
		case !mine() || len(keys) > 0 && keys[0] < c.row[0]:
			want := live[keys[0]]
			note(&wrongRegister{key: keys[0], want: &want})
			last, started = keys[0], true
			keys = keys[1:]
			continue
		case len(keys) > 0 && keys[0] == c.row[0]:
			want := live[keys[0]]
			if have := rowOf(c.row); have.session != s.id || have.n != want.n || have.value != want.value || have.pad != padSum(pads, s.header.Seed, want.padKey, want.pad) {
				note(&wrongRegister{key: keys[0], have: have, want: &want})
			}
			last, started = keys[0], true
			keys = keys[1:]
		case started && c.row[0] == last:
			key := last
			w.onEach(g, Doubled, rundir.TableRegister, 1, func(node string) example {
				return registerExample(s, node, &wrongRegister{key: key, have: rowOf(c.row)}, "is there twice")
			})
		default:
			note(&wrongRegister{key: c.row[0], have: rowOf(c.row)})
			last, started = c.row[0], true
		}
		c.next()
	}
	return wrong
}

func rowOf(row []int64) *registerRow {
	return &registerRow{session: row[1], n: row[2], value: row[3], pad: row[4]}
}

// padSum is the sum of a pad; scratch is memory for it.
func padSum(scratch []byte, seed uint64, key, n int64) int64 {
	return history.PadSum(string(history.AppendPad(scratch[:0], seed, key, n)))
}

// judgeRegister says what a wrong register is, from what the history says of it.
func judgeRegister(x *wrongRegister, session int64) (Kind, string) {
	f := &x.facts
	switch {
	case x.have == nil:
		return Torn, "is not there, though the transaction that wrote it is"
	case !f.everWritten:
		return Phantom, "was never written"
	case x.have.session != session || !f.written:
		return Phantom, "holds a value that was never written"
	case !f.padKnown:
		return Phantom, "has a pad that was never written"
	case !f.applied:
		return unmarked(f.outcome), "holds a value of a transaction whose ledger row is not there"
	case x.want == nil && f.removed:
		return Resurrected, "is there, though a transaction that is there removed it"
	case f.brought:
		return Torn, "holds a value of a transaction that is not there: a later one, which is, moved it to this key"
	}
	return Torn, "holds an older value than the transactions that are there make"
}

func registerExample(s *session, node string, x *wrongRegister, text string) example {
	d := map[string]any{"session": s.header.Session, "written_to": s.header.Node}
	if x.have != nil {
		d["n"], d["value"], d["pad_sum"] = x.have.n, x.have.value, x.have.pad
	}
	if x.want != nil {
		d["expected_n"], d["expected_value"] = x.want.n, x.want.value
	}
	key := fmt.Sprintf("register %d", x.key)
	return example{key: key, summary: key + " on " + node + " " + text, details: d, from: x.facts.op.InvokedAt, to: x.facts.op.CompletedAt}
}
