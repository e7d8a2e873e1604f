package workload

import (
	"math/rand/v2"

	"github.com/spockchaos/spockchaos/workload/history"
)

// registers is how many keys a session has. About half of them exist at a time.
const registers = 200

// register inserts, updates, deletes and re-keys rows that only its session writes.
type register struct {
	session int
	known   keySet // what is in the database
	drawn   keySet // what will be, once the transaction drawn last has committed
}

// keySet is the register keys that exist, by index, in a form to draw from: the first
// count of order exist.
type keySet struct {
	count int
	order [registers]uint8 // a permutation of the indexes
	place [registers]uint8 // its inverse
}

func newKeySet() (s keySet) {
	for i := range registers {
		s.order[i], s.place[i] = uint8(i), uint8(i)
	}
	return s
}

func (s *keySet) swap(a, b int) {
	s.order[a], s.order[b] = s.order[b], s.order[a]
	s.place[s.order[a]], s.place[s.order[b]] = uint8(a), uint8(b)
}

func (s *keySet) add(i int) {
	if at := int(s.place[i]); at >= s.count {
		s.swap(at, s.count)
		s.count++
	}
}

func (s *keySet) remove(i int) {
	if at := int(s.place[i]); at < s.count {
		s.count--
		s.swap(at, s.count)
	}
}

// existing and missing draw an index; there must be one.
func (s *keySet) existing(r *rand.Rand) int { return int(s.order[r.IntN(s.count)]) }
func (s *keySet) missing(r *rand.Rand) int {
	return int(s.order[s.count+r.IntN(registers-s.count)])
}

func newRegister(session int) *register {
	s := newKeySet()
	return &register{session: session, known: s, drawn: s}
}

// registerKey is key i of a session.
func registerKey(session, i int) int64 { return int64(session)<<32 | int64(i) }

func (g *register) key(i int) int64 { return registerKey(g.session, i) }

func (g *register) next(r *rand.Rand, p *plan) {
	g.drawn = g.known
	for i := range drawChanges(r) {
		g.change(r, p, i)
	}
	p.maybeBreak(r)
}

func (g *register) change(r *rand.Rand, p *plan, i int) {
	s := &g.drawn
	// The more keys there are, the fewer are inserted and the more deleted.
	full := 100 * s.count / registers
	x := r.IntN(400)
	switch {
	case s.count == 0 || x < 100-full:
		k := s.missing(r)
		s.add(k)
		p.begin(stRegisterInsert, 1).int8(g.key(k)).int4(p.session).int8(p.n).int8(p.value(i)).pad(g.key(k))
		p.effect(history.Effect{Kind: history.RegisterInsert, Key: g.key(k), Value: p.value(i)})
	case x < 100: // full in a hundred
		k := s.existing(r)
		s.remove(k)
		p.begin(stRegisterDelete, 1).int8(g.key(k))
		p.effect(history.Effect{Kind: history.RegisterDelete, Key: g.key(k)})
	case x < 160 && s.count < registers:
		from, to := s.existing(r), s.missing(r)
		s.remove(from)
		s.add(to)
		p.begin(stRegisterRekey, 1).int8(g.key(from)).int8(g.key(to)).int4(p.session).int8(p.n)
		p.effect(history.Effect{Kind: history.RegisterRekey, Key: g.key(from), Key2: g.key(to)})
	default:
		k := s.existing(r)
		p.begin(stRegisterUpdate, 1).int8(g.key(k)).int4(p.session).int8(p.n).int8(p.value(i))
		p.effect(history.Effect{Kind: history.RegisterUpdate, Key: g.key(k), Value: p.value(i)})
	}
}

func (g *register) settle(committed bool) {
	if committed {
		g.known = g.drawn
	}
}

func (g *register) reload(keys []int64) {
	g.known = newKeySet()
	for _, k := range keys {
		if i := k - g.key(0); i >= 0 && i < registers {
			g.known.add(int(i))
		}
	}
	g.drawn = g.known
}
