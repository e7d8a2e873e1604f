package scenario

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
)

// decoded is a transaction as a clone of the recovery slot shows it.
type decoded struct {
	commit  position // in the WAL that was read
	origin  string   // replication origin, "" for the node's own
	lsn     position // of the commit in the origin's WAL
	marks   []int    // rows inserted into scenario.mark
	rows    int      // changes of the scenario's tables; a truncate counts as one
	beats   int      // changes of spock.recovery_heartbeat
	changes int      // of anything else
}

// decoder puts transactions together from messages of plugin pgoutput, protocol version 1
// ("Logical Replication Message Formats" in PostgreSQL's manual).
type decoder struct {
	names map[uint32]string // of tables, by the number that messages have
	now   *decoded
	all   []decoded
}

// add takes one message.
func (d *decoder) add(message []byte) error {
	r := reader{rest: message}
	kind := r.byte()
	switch kind {
	case 'B':
		d.now = &decoded{commit: position(r.uint64())}
	case 'O':
		if d.now == nil {
			return errors.New("an origin outside a transaction")
		}
		d.now.lsn = position(r.uint64())
		d.now.origin = r.string()
	case 'C':
		if d.now == nil {
			return errors.New("a commit outside a transaction")
		}
		d.all = append(d.all, *d.now)
		d.now = nil
	case 'R':
		id := r.uint32()
		schema := r.string()
		d.names[id] = schema + "." + r.string()
	case 'I', 'U', 'D', 'T':
		if err := d.change(kind, &r); err != nil {
			return err
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

func (d *decoder) change(kind byte, r *reader) error {
	if d.now == nil {
		return errors.New("a change outside a transaction")
	}
	if kind == 'T' {
		r.uint32() // how many tables
		r.byte()   // options
	}
	name, known := d.names[r.uint32()]
	if !known {
		return errors.New("a change of a table that was not described")
	}
	switch schema, _, _ := bytes.Cut([]byte(name), []byte(".")); {
	case name == "spock.recovery_heartbeat":
		d.now.beats++
	case string(schema) == "scenario":
		d.now.rows++
	default:
		d.now.changes++
	}
	if name == "scenario.mark" && kind == 'I' {
		return d.mark(r)
	}
	return nil
}

// mark reads the row (node, n) of an insert.
func (d *decoder) mark(r *reader) error {
	r.byte()   // 'N'
	r.uint16() // how many columns
	var text [2]string
	for i := range text {
		if k := r.byte(); k != 't' {
			return fmt.Errorf("column %d of a mark is of kind %q", i+1, k)
		}
		text[i] = string(r.bytes(int(r.uint32())))
	}
	n, err := strconv.Atoi(text[1])
	if err != nil {
		return fmt.Errorf("a mark without a number: %w", err)
	}
	d.now.marks = append(d.now.marks, n)
	return nil
}

// reader reads from a message; past its end it gives zeros and remembers.
type reader struct {
	rest  []byte
	short bool
}

func (r *reader) bytes(n int) []byte {
	if n < 0 || n > len(r.rest) {
		r.short, r.rest = true, nil
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) byte() byte {
	if b := r.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) uint16() uint16 {
	if b := r.bytes(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *reader) uint32() uint32 {
	if b := r.bytes(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) uint64() uint64 {
	if b := r.bytes(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// string reads up to a zero byte.
func (r *reader) string() string {
	i := bytes.IndexByte(r.rest, 0)
	if i < 0 {
		r.short, r.rest = true, nil
		return ""
	}
	s := string(r.rest[:i])
	r.rest = r.rest[i+1:]
	return s
}
