package history

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// The payload of every frame after the first is one or more entries, each an
// invocation or a completion. docs/history.md is the reference.
const (
	magic   = "SPKHIST1" // before the first frame
	version = 1

	tagInvoke   = 1
	tagComplete = 2 // the outcome in bits 4 and 5, hasState in bit 6
	hasState    = 1 << 6

	effectKey   = 1 << 4
	effectKey2  = 1 << 5
	effectValue = 1 << 6
)

// Limits on one operation. A Writer refuses what exceeds them, a Reader calls it damage.
const (
	MaxEffects  = 4096
	maxName     = 1024 // bytes of a node's or workload's name
	stateLength = 5    // an SQLSTATE
)

func appendHeader(b []byte, h Header) []byte {
	b = append(b, version)
	b = binary.AppendUvarint(b, uint64(h.Session))
	b = binary.LittleEndian.AppendUint64(b, h.Seed)
	b = binary.AppendUvarint(b, uint64(len(h.Node)))
	b = append(b, h.Node...)
	b = binary.AppendUvarint(b, uint64(len(h.Workload)))
	return append(b, h.Workload...)
}

func decodeHeader(b []byte) (h Header, err error) {
	if len(b) == 0 {
		return h, errors.New("the header is empty")
	}
	if b[0] != version {
		return h, fmt.Errorf("format version %d; this program reads version %d", b[0], version)
	}
	d := decoder{b: b[1:]}
	session := d.uvarint()
	if session > 1<<31-1 {
		return h, errors.New("the session's number is out of range")
	}
	h.Session = int(session)
	h.Seed = d.uint64()
	h.Node = d.text()
	h.Workload = d.text()
	if d.bad || len(d.b) > 0 {
		return Header{}, errors.New("the header makes no sense")
	}
	return h, nil
}

func appendEffect(b []byte, e *Effect) []byte {
	at := len(b)
	tag := byte(e.Kind)
	b = append(b, 0)
	if e.Key != 0 {
		tag |= effectKey
		b = binary.AppendVarint(b, e.Key)
	}
	if e.Key2 != 0 {
		tag |= effectKey2
		b = binary.AppendVarint(b, e.Key2)
	}
	if e.Value != 0 {
		tag |= effectValue
		b = binary.AppendVarint(b, e.Value)
	}
	b[at] = tag
	return b
}

// decoder takes values off the front of b. After the first that is not there bad
// is set and every further value is zero.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) fail() { d.bad, d.b = true, nil }

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.fail()
		return 0
	}
	c := d.b[0]
	d.b = d.b[1:]
	return c
}

func (d *decoder) uvarint() uint64 {
	if len(d.b) > 0 && d.b[0] < 0x80 {
		v := uint64(d.b[0])
		d.b = d.b[1:]
		return v
	}
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) varint() int64 {
	u := d.uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

func (d *decoder) uint64() uint64 {
	if len(d.b) < 8 {
		d.fail()
		return 0
	}
	v := binary.LittleEndian.Uint64(d.b)
	d.b = d.b[8:]
	return v
}

func (d *decoder) text() string {
	n := d.uvarint()
	if n > maxName || n > uint64(len(d.b)) {
		d.fail()
		return ""
	}
	s := string(d.b[:n])
	d.b = d.b[n:]
	return s
}

func (d *decoder) effect(e *Effect) {
	tag := d.byte()
	*e = Effect{Kind: EffectKind(tag & 0x0f)}
	if !e.Kind.valid() || tag&0x80 != 0 {
		d.fail()
		return
	}
	if tag&effectKey != 0 {
		e.Key = d.varint()
	}
	if tag&effectKey2 != 0 {
		e.Key2 = d.varint()
	}
	if tag&effectValue != 0 {
		e.Value = d.varint()
	}
}

// entries decodes the entries of a history, which refer to those before them: each
// time is the difference from the time before it.
type entries struct {
	decoder
	n      int64 // of the last invocation
	open   bool  // it has no completion yet
	clock  int64 // of the last entry, Unix nanoseconds
	states map[string]string
}

// invoke decodes the invocation that follows its tag into op.
func (e *entries) invoke(op *Op) error {
	n := int64(e.uvarint())
	e.clock += e.varint()
	count := e.uvarint()
	if e.bad || count > MaxEffects || count > uint64(len(e.b)) {
		return errors.New("an invocation makes no sense")
	}
	if n != e.n+1 {
		return fmt.Errorf("operation %d follows operation %d", n, e.n)
	}
	effects := op.Effects[:0]
	for range count {
		var f Effect
		e.effect(&f)
		effects = append(effects, f)
	}
	if e.bad {
		return fmt.Errorf("an effect of operation %d makes no sense", n)
	}
	e.n, e.open = n, true
	*op = Op{N: n, InvokedAt: time.Unix(0, e.clock).UTC(), Effects: effects}
	return nil
}

// complete decodes the completion that follows tag into op, the last invocation.
func (e *entries) complete(tag byte, op *Op) error {
	if !e.open {
		return errors.New("a completion has no invocation before it")
	}
	e.open = false
	e.clock += e.varint()
	outcome := Outcome(tag >> 4 & 3)
	state := ""
	if tag&hasState != 0 {
		if len(e.b) < stateLength {
			e.fail()
		} else {
			state = e.intern(e.b[:stateLength])
			e.b = e.b[stateLength:]
		}
	}
	if e.bad || outcome > Fail {
		return fmt.Errorf("the completion of operation %d makes no sense", e.n)
	}
	op.CompletedAt = time.Unix(0, e.clock).UTC()
	op.Outcome = outcome
	op.SQLState = state
	return nil
}

// intern keeps one string per SQLSTATE, so that reading one costs no allocation.
func (e *entries) intern(b []byte) string {
	if s, ok := e.states[string(b)]; ok {
		return s
	}
	if e.states == nil || len(e.states) >= 256 { // a file has a handful; a garbled one must not fill memory
		e.states = make(map[string]string)
	}
	s := string(b)
	e.states[s] = s
	return s
}

func isComplete(tag byte) bool { return tag&0x8f == tagComplete }
