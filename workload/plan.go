package workload

import (
	"encoding/binary"
	"math/rand/v2"
	"time"

	"github.com/spockchaos/spockchaos/workload/history"
)

// plan is one transaction: what it does, for the history, and the statements that do
// it. The marker is the first statement. A session reuses one plan for all its transactions.
type plan struct {
	seed    uint64
	session int
	n       int64

	effects []history.Effect
	steps   []step
	params  []byte // of all steps, in order, each as a length (4 bytes) and the value: as Bind sends them
	// breakAt is the step before which the session waits for the answers so far, 0 for
	// nowhere, and hold how long it then lets the transaction stand.
	breakAt int
	hold    time.Duration
}

// step is one statement of a plan.
type step struct {
	st       statement
	count    int   // of its parameters
	from, to int   // in plan.params
	rows     int64 // that it must affect
}

// reset makes p the transaction n with nothing but its marker.
func (p *plan) reset(n int64) {
	p.n = n
	p.effects, p.steps, p.params = p.effects[:0], p.steps[:0], p.params[:0]
	p.breakAt, p.hold = 0, 0
	p.begin(stMarker, 1).int4(p.session).int8(n).int8(history.LedgerValue(p.seed, p.session, n))
}

// begin starts a step that affects rows rows; its parameters follow.
func (p *plan) begin(st statement, rows int64) *plan {
	p.steps = append(p.steps, step{st: st, from: len(p.params), to: len(p.params), rows: rows})
	return p
}

func (p *plan) parameter() {
	s := &p.steps[len(p.steps)-1]
	s.count++
	s.to = len(p.params)
}

func (p *plan) int4(v int) *plan {
	p.params = binary.BigEndian.AppendUint32(append(p.params, 0, 0, 0, 4), uint32(int32(v)))
	p.parameter()
	return p
}

func (p *plan) int8(v int64) *plan {
	p.params = binary.BigEndian.AppendUint64(append(p.params, 0, 0, 0, 8), uint64(v))
	p.parameter()
	return p
}

func (p *plan) pad(key int64) *plan {
	p.params = binary.BigEndian.AppendUint32(p.params, history.PadLength)
	p.params = history.AppendPad(p.params, p.seed, key, p.n)
	p.parameter()
	return p
}

// effect records what the steps do.
func (p *plan) effect(e history.Effect) { p.effects = append(p.effects, e) }

// events inserts count rows into the table without a key.
func (p *plan) events(count int) {
	for seq := range count {
		p.begin(stEvent, 1).int4(p.session).int8(p.n).int4(seq)
	}
	p.effect(history.Effect{Kind: history.EventInsert, Value: int64(count)})
}

// value is what this transaction's i-th change writes: a function of seed, session and n.
func (p *plan) value(i int) int64 {
	return history.LedgerValue(p.seed, p.session, p.n) + int64(i) + 1
}

// maybeBreak lets one in three transactions of several statements wait in the middle.
func (p *plan) maybeBreak(r *rand.Rand) {
	if len(p.steps) > 2 && r.IntN(3) == 0 {
		p.breakAt = 1 + r.IntN(len(p.steps)-1)
	}
}

// maxChanges is the most statements of a usual transaction beside its marker.
const maxChanges = 49

// drawChanges draws how many changes a transaction makes: mostly few, now and then up to maxChanges.
func drawChanges(r *rand.Rand) int {
	switch x := r.IntN(100); {
	case x < 70:
		return 1 + r.IntN(3)
	case x < 96:
		return 4 + r.IntN(7)
	default:
		return 11 + r.IntN(maxChanges-10)
	}
}
