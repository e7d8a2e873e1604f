package checker

import (
	"context"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/workload/history"
)

// autopsy reads a session's history again to say what the wrong rows of a group are,
// and reports them. It happens only when something is wrong.
func (w *walker) autopsy(ctx context.Context, i int, g *group, s *session, registers []*wrongRegister, bulks []*wrongBulk) error {
	byKey := make(map[int64]*wrongRegister, len(registers))
	for _, x := range registers {
		byKey[x.key] = x
	}
	byN := make(map[int64]*wrongBulk, len(bulks))
	for _, x := range bulks {
		byN[x.n] = x
	}
	applied := w.applied[i].reader()
	replay := newRegisterReplay()
	whole := newRegisterReplay() // as it was where the session wrote
	pad := make([]byte, 0, history.PadLength)
	err := eachOp(ctx, s.path, w.in.round.Complete, func(op *history.Op) {
		here := applied(op.N)
		for k := range op.Effects {
			e := &op.Effects[k]
			switch e.Kind {
			case history.RegisterInsert:
				noteWrite(byKey[e.Key], op, here, e.Value, true, func() int64 { return padSum(pad, s.header.Seed, e.Key, op.N) })
			case history.RegisterUpdate:
				noteWrite(byKey[e.Key], op, here, e.Value, true, nil)
			case history.RegisterDelete:
				noteRemoval(byKey[e.Key], op, here, e)
			case history.RegisterRekey:
				x, known := replay.live[e.Key] // of a move that is not there: what it would have moved
				noteWrite(byKey[e.Key2], op, here, x.value, known, func() int64 { return padSum(pad, s.header.Seed, x.padKey, x.pad) })
				if y, ok := whole.live[e.Key]; ok && (!known || y.value != x.value) {
					noteBrought(byKey[e.Key2], op, here, y, func() int64 { return padSum(pad, s.header.Seed, y.padKey, y.pad) })
				}
				noteRemoval(byKey[e.Key], op, here, e)
			case history.BulkInsert:
				if x := byN[op.N]; x != nil {
					x.inserted = true
				}
			}
			if here {
				replay.effect(op.N, e)
			}
			if here || op.Outcome == history.OK {
				whole.effect(op.N, e)
			}
		}
		if x := byN[op.N]; x != nil {
			x.applied, x.op = here, *op
			x.op.Effects = nil
		}
	})
	if err != nil {
		return err
	}
	for _, x := range registers {
		kind, text := judgeRegister(x, s.id)
		for _, node := range g.nodes {
			why := w.in.explainRegister(node, s, x, kind)
			w.c.add(explained(kind, why), node, rundir.TableRegister, 1, func() example {
				return registerExample(s, node, x, text).explain(why)
			})
		}
	}
	for _, x := range bulks {
		kind, text := judgeBulk(x)
		w.onEach(g, kind, rundir.TableBulk, 1, func(node string) example { return bulkExample(s, node, x, text) })
	}
	return nil
}

// noteWrite notes that op put a value (and, if padSum is not nil, a pad) at a wrong register's key.
func noteWrite(x *wrongRegister, op *history.Op, here bool, value int64, known bool, padSum func() int64) {
	if x == nil {
		return
	}
	f := &x.facts
	f.everWritten = true
	if x.have == nil {
		if x.want != nil && x.want.n == op.N { // the write that is missing
			f.op = *op
			f.op.Effects = nil
		}
		return
	}
	if op.N == x.have.n && (!known || value == x.have.value) {
		f.written, f.applied, f.outcome, f.op = true, here, op.Outcome, *op
		f.op.Effects = nil
	}
	if padSum != nil && !f.padKnown {
		f.padKnown = !known || padSum() == x.have.pad
	}
}

// noteBrought notes that op moved the register to a wrong register's key, where what it moved was the work of a transaction that is not there: an
// engine sends the whole row with its new key.
func noteBrought(x *wrongRegister, op *history.Op, here bool, moved register, padSum func() int64) {
	if x == nil || x.have == nil || op.N != x.have.n {
		return
	}
	f := &x.facts
	if moved.value == x.have.value {
		f.written, f.brought, f.applied, f.outcome, f.op = true, true, here, op.Outcome, *op
		f.op.Effects = nil
	}
	f.padKnown = f.padKnown || padSum() == x.have.pad
}

// noteRemoval notes that op deleted a wrong register or moved it away, by the effect e.
func noteRemoval(x *wrongRegister, op *history.Op, here bool, e *history.Effect) {
	if x == nil || x.have == nil || !here {
		return
	}
	if op.N > x.have.n || op.N == x.have.n && x.facts.written {
		x.facts.removed, x.facts.remover, x.facts.removal = true, *op, *e
		x.facts.remover.Effects = nil
	}
}
