package checker

import (
	"time"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/workload/history"
)

// nodeRow is a row of a table on a node.
type nodeRow struct {
	node, table string
	key         int64
}

func (in *input) loadExplanations() error {
	return eachOf(in, rundir.ExplanationsFile, func(e rundir.Explanation) {
		if e.Row != nil {
			key, ok := e.Row.Key()
			if ok && (e.Row.Table == rundir.TableRegister || e.Row.Table == rundir.TableConflict || e.Row.Origin == in.poolOf(e.Row.Table, key)) {
				k := nodeRow{e.Node, e.Row.Table, key}
				in.givenUp[k] = append(in.givenUp[k], e)
			}
			return
		}
		k := nodeOp{e.Node, opID{e.Session, e.N}}
		if _, known := in.explanations[k]; !known {
			in.explanations[k] = e
		}
	})
}

// poolOf is the node whose sessions write a counter or an account. Every node was set up with a row of its own for each, in whose place the first write comes.
// Nothing explains a counter that the sessions of all nodes write.
func (in *input) poolOf(table string, key int64) string {
	for _, p := range in.run.Workload.Pools {
		if table == rundir.TableCounter && key >= p.FirstCounter && key < p.FirstCounter+int64(p.Counters) ||
			table == rundir.TableAccount && key >= p.FirstAccount && key < p.FirstAccount+int64(p.Accounts) {
			return p.Node
		}
	}
	return ""
}

// explained is the kind of a finding whose explanation, or nil, is why.
func explained(kind Kind, why *rundir.Explanation) Kind {
	if why != nil {
		return ExplainedLoss
	}
	return kind
}

// explain puts an explanation, if there is one, into an example.
func (e example) explain(why *rundir.Explanation) example {
	if why != nil {
		e.summary += "; " + why.Source + " there says why"
		e.details["source"], e.details["entry"] = why.Source, why.Entry
	}
	return e
}

// explainTransaction finds the entry that says why a node gave up a whole transaction.
func (in *input) explainTransaction(node string, s *session, n int64) *rundir.Explanation {
	if e, ok := in.explanations[nodeOp{node, opID{s.header.Session, n}}]; ok {
		return &e
	}
	return nil
}

// givenUpIn lists the entries about transactions of a session with numbers in (after, last] that a node gave up.
func (in *input) givenUpIn(node string, session int, after, last int64) []rundir.Explanation {
	var out []rundir.Explanation
	if len(in.explanations) == 0 {
		return nil
	}
	for n := after + 1; n <= last; n++ {
		if e, ok := in.explanations[nodeOp{node, opID{session, n}}]; ok {
			out = append(out, e)
		}
	}
	return out
}

// find is the first entry about a row on a node that ok agrees with.
func (in *input) find(node, table string, key int64, ok func(v *rundir.RowVersion) bool) *rundir.Explanation {
	for i, e := range in.givenUp[nodeRow{node, table, key}] {
		if ok(e.Row) {
			return &in.givenUp[nodeRow{node, table, key}][i]
		}
	}
	return nil
}

// explainRegister finds the entry that says why a node lacks the write that would make a wrong register right. An entry about another write of the
// same register, however near, explains nothing.
func (in *input) explainRegister(node string, s *session, x *wrongRegister, kind Kind) *rundir.Explanation {
	if len(in.givenUp) == 0 {
		return nil
	}
	switch {
	case x.have != nil && !x.facts.applied: // what is there is wrong in itself, whatever is missing
		return nil
	case kind == Torn && x.want != nil && (x.have == nil || x.have.n < x.want.n):
		return in.explainWrite(node, s, x.key, x.want.n, &x.want.value)
	case kind == Torn && x.want != nil && x.have.n == x.want.n && x.have.value == x.want.value: // the pad is older
		return in.explainWrite(node, s, x.want.padKey, x.want.pad, nil)
	case kind == Resurrected && x.facts.removed && x.facts.removal.Kind == history.RegisterRekey:
		return in.explainWrite(node, s, x.facts.removal.Key2, x.facts.remover.N, nil)
	case kind == Resurrected && x.facts.removed:
		return in.explainDelete(node, s, x.key, &x.facts.remover)
	}
	return nil
}

// explainWrite looks for the version of a register that write n of the session made: the row itself says whose it is.
func (in *input) explainWrite(node string, s *session, key, n int64, value *int64) *rundir.Explanation {
	if in.explainTransaction(node, s, n) != nil {
		return nil // the node gave all of it up; it has come by another way, and conflicts that it met before are not to blame
	}
	return in.find(node, rundir.TableRegister, key, func(v *rundir.RowVersion) bool {
		return !v.Deleted && v.Origin == s.header.Node && has(v, "session", s.id) && has(v, "n", n) && (value == nil || has(v, "value", *value))
	})
}

// explainDelete looks for the delete of a register by an operation. It names the row alone, so that its time must tell: it was committed after the
// operation was sent, and before it was acknowledged.
func (in *input) explainDelete(node string, s *session, key int64, op *history.Op) *rundir.Explanation {
	if in.explainTransaction(node, s, op.N) != nil {
		return nil // as above
	}
	return in.find(node, rundir.TableRegister, key, func(v *rundir.RowVersion) bool {
		return v.Deleted && v.Origin == s.header.Node && !v.CommittedAt.Before(op.InvokedAt) &&
			(op.Outcome != history.OK || !v.CommittedAt.After(op.CompletedAt))
	})
}

// explainPut looks for a write of a conflict key that a node dropped.
func (in *input) explainPut(node string, key int64, id opID) *rundir.Explanation {
	return in.find(node, rundir.TableConflict, key, func(v *rundir.RowVersion) bool {
		return has(v, "session", int64(id.session)) && has(v, "n", id.n)
	})
}

// explainBalance looks for the version of a counter or an account that holds what it should hold, written where it is written to and by the last
// that touched it: a version says whole values, not what was added, so that nothing older can be what is missing.
func (w *walker) explainBalance(i int, node, table string, key, want int64) *rundir.Explanation {
	column := "value"
	if table == rundir.TableAccount {
		column = "balance"
	}
	last := w.touched[i][tableKey{table, key}]
	if last.IsZero() {
		return nil
	}
	return w.in.find(node, table, key, func(v *rundir.RowVersion) bool {
		return !v.Deleted && has(v, column, want) && !v.CommittedAt.Before(last)
	})
}

func has(v *rundir.RowVersion, column string, value int64) bool {
	x, ok := v.Columns[column]
	return ok && x == value
}

type tableKey struct {
	table string
	key   int64
}

// touched is, of the counters and accounts that there are entries about, when the latest of the operations that are there and change them was sent.
// Whichever of them came last was committed after that.
type touched map[tableKey]time.Time

// newTouched is nil if there is nothing to look for.
func newTouched(in *input) touched {
	var t touched
	for k := range in.givenUp {
		if k.table == rundir.TableRegister {
			continue
		}
		if t == nil {
			t = make(touched)
		}
		t[tableKey{k.table, k.key}] = time.Time{}
	}
	return t
}

func (t touched) apply(op *history.Op) {
	if t == nil {
		return
	}
	for i := range op.Effects {
		switch e := &op.Effects[i]; e.Kind {
		case history.CounterAdd:
			t.note(rundir.TableCounter, e.Key, op.InvokedAt)
		case history.Transfer:
			t.note(rundir.TableAccount, e.Key, op.InvokedAt)
			t.note(rundir.TableAccount, e.Key2, op.InvokedAt)
		}
	}
}

func (t touched) note(table string, key int64, at time.Time) {
	k := tableKey{table, key}
	if last, known := t[k]; known && at.After(last) {
		t[k] = at
	}
}
