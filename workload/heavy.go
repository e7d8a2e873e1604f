package workload

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/spockchaos/spockchaos/workload/history"
)

// heavy puts large and long transactions among those of another kind: large ones
// insert many rows with one statement, or delete what an earlier one inserted; long
// ones stand open for a second or two between their statements. Both touch rows of
// their own session alone, so that they hold nobody else up.
type heavy struct {
	inner kind
	rows  int // of a large transaction
	large int // how many insertions may still come
	long  int

	wait      int     // transactions until the next heavy one; -1: not drawn yet
	inserted  []int64 // numbers of large transactions whose rows are in the database
	last      shape   // of the transaction drawn last
	lastN     int64
	lastWhich int64 // what it deletes
}

type shape uint8

const (
	shapeInner shape = iota
	shapeInsert
	shapeDelete
	shapeLong
)

// heavyEvery is how many transactions come between two heavy ones, on average.
const heavyEvery = 150

func newHeavy(inner kind, rows, each int) *heavy {
	return &heavy{inner: inner, rows: rows, large: each, long: each, wait: -1}
}

func (h *heavy) next(r *rand.Rand, p *plan) {
	if h.wait < 0 {
		h.wait = heavyEvery/4 + r.IntN(heavyEvery*3/2)
	}
	h.wait--
	h.last, h.lastN = shapeInner, p.n
	if h.wait < 0 {
		h.last = h.draw(r)
	}
	switch h.last {
	case shapeInsert:
		h.large--
		p.begin(stBulkInsert, int64(h.rows)).int4(p.session).int8(p.n).int4(h.rows)
		p.effect(history.Effect{Kind: history.BulkInsert, Value: int64(h.rows)})
	case shapeDelete:
		h.lastWhich = h.inserted[r.IntN(len(h.inserted))]
		p.begin(stBulkDelete, int64(h.rows)).int4(p.session).int8(h.lastWhich)
		p.effect(history.Effect{Kind: history.BulkDelete, Key: h.lastWhich})
	case shapeLong:
		h.long--
		p.events(2 + r.IntN(5))
		p.breakAt = 1 + r.IntN(len(p.steps)-1)
		p.hold = time.Second + time.Duration(r.Int64N(int64(time.Second)))
	default:
		h.inner.next(r, p)
	}
}

// draw draws the shape of a heavy transaction out of those that are left.
func (h *heavy) draw(r *rand.Rand) shape {
	var can [3]shape
	n := 0
	if h.large > 0 {
		can[n] = shapeInsert
		n++
	}
	if len(h.inserted) > 0 {
		can[n] = shapeDelete
		n++
	}
	if h.long > 0 {
		can[n] = shapeLong
		n++
	}
	if n == 0 {
		return shapeInner
	}
	return can[r.IntN(n)]
}

func (h *heavy) settle(committed bool) {
	if h.last == shapeInner {
		h.inner.settle(committed)
		return
	}
	switch {
	case !committed:
	case h.last == shapeInsert:
		h.inserted = append(h.inserted, h.lastN)
	case h.last == shapeDelete:
		h.inserted = slices.DeleteFunc(h.inserted, func(n int64) bool { return n == h.lastWhich })
	}
}

func (h *heavy) reload(keys []int64) {
	h.inserted = h.inserted[:0] // whatever was wrong, rows of earlier transactions are not relied on again
	h.inner.reload(keys)
}
