package checker

import (
	"slices"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/workload/history"
)

// bulkReplay is the bulk rows of one session that must be there, by the transaction that inserted them.
type bulkReplay struct{ rows map[int64]bulkRows }

// bulkRows is a number of rows and the sum of their seq.
type bulkRows struct{ rows, sum int64 }

func (b *bulkReplay) reset() {
	if b.rows == nil {
		b.rows = make(map[int64]bulkRows)
	}
	clear(b.rows)
}

func (b *bulkReplay) apply(op *history.Op) {
	for i := range op.Effects {
		switch e := &op.Effects[i]; e.Kind {
		case history.BulkInsert:
			x := b.rows[op.N]
			x.rows += e.Value
			x.sum += e.Value * (e.Value - 1) / 2
			b.rows[op.N] = x
		case history.BulkDelete:
			delete(b.rows, e.Key)
		}
	}
}

// wrongBulk is a transaction whose bulk rows are not what they must be.
type wrongBulk struct {
	n          int64
	have, want bulkRows
	op         history.Op // without effects
	inserted   bool       // the operation inserted bulk rows
	applied    bool       // it is there
}

// compareBulks compares, as a sorted merge, the session's bulk rows with what the transactions that are there made.
func (w *walker) compareBulks(i int, g *group, s *session) []*wrongBulk {
	want := w.bulks[i].rows
	numbers := make([]int64, 0, len(want))
	for n, x := range want {
		if x.rows > 0 {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	var wrong []*wrongBulk
	note := func(n int64, have, want bulkRows) {
		if len(wrong) < maxWrong {
			wrong = append(wrong, &wrongBulk{n: n, have: have, want: want})
			return
		}
		w.onEach(g, Torn, rundir.TableBulk, 1, func(node string) example {
			return bulkExample(s, node, &wrongBulk{n: n, have: have, want: want}, "differ")
		})
	}
	c := g.bulk
	mine := func() bool { return c.row != nil && c.row[0] == s.id }
	for mine() || len(numbers) > 0 {
		if !mine() || len(numbers) > 0 && numbers[0] < c.row[1] {
			note(numbers[0], bulkRows{}, want[numbers[0]])
			numbers = numbers[1:]
			continue
		}
		n, have := c.row[1], bulkRows{c.row[2], c.row[3]}
		expected := bulkRows{}
		if len(numbers) > 0 && numbers[0] == n {
			expected = want[n]
			numbers = numbers[1:]
		}
		if have != expected {
			note(n, have, expected)
		}
		c.next()
	}
	return wrong
}

// judgeBulk says what wrong bulk rows are, from what the history says of their transaction.
func judgeBulk(x *wrongBulk) (Kind, string) {
	switch {
	case !x.inserted:
		return Phantom, "were never written"
	case !x.applied:
		return unmarked(x.op.Outcome), "are there without the transaction's ledger row"
	case x.want.rows == 0:
		return Resurrected, "are there, though a transaction that is there deleted them"
	case x.have.rows > x.want.rows:
		return Doubled, "are more than were written"
	case x.have.rows < x.want.rows:
		return Torn, "are fewer than were written"
	}
	return Phantom, "are not the ones that were written"
}

func bulkExample(s *session, node string, x *wrongBulk, text string) example {
	key := opKey(s.header.Session, x.n)
	return example{key: key, summary: "bulk rows of " + key + " on " + node + " " + text, from: x.op.InvokedAt, to: x.op.CompletedAt,
		details: map[string]any{"rows": x.have.rows, "expected_rows": x.want.rows, "sum": x.have.sum, "expected_sum": x.want.sum,
			"written_to": s.header.Node}}
}
