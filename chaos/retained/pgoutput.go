package retained

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/spockchaos/spockchaos/checker/rundir"
)

// decoder puts transactions together from messages of plugin pgoutput, protocol version 1
// ("Logical Replication Message Formats" in PostgreSQL's manual).
type decoder struct {
	Reading
	names map[uint32]string // of tables, by the number that messages have
	now   *Transaction
}

// epoch is PostgreSQL's: its times are microseconds since then.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// add takes one message. Where nobody asks for changes, their messages are the kind alone.
func (d *decoder) add(message []byte) error {
	r := Fields{rest: message}
	kind := r.Byte()
	switch kind {
	case 'B':
		d.now = &Transaction{Commit: rundir.LSN(r.Uint64())}
		d.now.CommittedAt = epoch.Add(time.Duration(r.Uint64()) * time.Microsecond)
	case 'O':
		if d.now == nil {
			return errors.New("an origin outside a transaction")
		}
		d.now.LSN = rundir.LSN(r.Uint64())
		d.now.Origin = r.Text()
	case 'C':
		if d.now == nil {
			return errors.New("a commit outside a transaction")
		}
		done := *d.now
		d.now = nil
		return d.Done(done)
	case 'R':
		if d.Change != nil {
			id := r.Uint32()
			schema := r.Text()
			d.names[id] = schema + "." + r.Text()
		}
	case 'I', 'U', 'D', 'T':
		if d.now == nil {
			return errors.New("a change outside a transaction")
		}
		d.now.Changes++
		if d.Change != nil {
			if err := d.change(kind, &r); err != nil {
				return err
			}
		}
	case 'Y', 'M':
	default:
		return fmt.Errorf("a message of unknown kind %q", kind)
	}
	if r.short {
		return fmt.Errorf("a message of kind %q ends too soon", kind)
	}
	return nil
}

func (d *decoder) change(kind byte, r *Fields) error {
	if kind == 'T' {
		r.Uint32() // how many tables
		r.Byte()   // options
	}
	name, known := d.names[r.Uint32()]
	if !known {
		return errors.New("a change of a table that was not described")
	}
	return d.Change(kind, name, r)
}

// Fields reads a message's fields, one after the other; past its end it gives zeros and remembers.
type Fields struct {
	rest  []byte
	short bool
}

// Bytes are the next n.
func (r *Fields) Bytes(n int) []byte {
	if n < 0 || n > len(r.rest) {
		r.short, r.rest = true, nil
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

// Byte is the next one.
func (r *Fields) Byte() byte {
	if b := r.Bytes(1); b != nil {
		return b[0]
	}
	return 0
}

// Uint16 reads two bytes, the most significant first, as do Uint32 and Uint64.
func (r *Fields) Uint16() uint16 {
	if b := r.Bytes(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

// Uint32 reads four bytes.
func (r *Fields) Uint32() uint32 {
	if b := r.Bytes(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

// Uint64 reads eight bytes.
func (r *Fields) Uint64() uint64 {
	if b := r.Bytes(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// Text reads up to a zero byte.
func (r *Fields) Text() string {
	i := bytes.IndexByte(r.rest, 0)
	if i < 0 {
		r.short, r.rest = true, nil
		return ""
	}
	s := string(r.rest[:i])
	r.rest = r.rest[i+1:]
	return s
}
