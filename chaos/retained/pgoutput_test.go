package retained

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// msg builds a message: numbers of the sizes that Go gives them, strings as they are.
func msg(parts ...any) []byte {
	var b []byte
	for _, p := range parts {
		switch v := p.(type) {
		case string:
			b = append(b, v...)
		case byte:
			b = append(b, v)
		default:
			b, _ = binary.Append(b, binary.BigEndian, v)
		}
	}
	return b
}

func relation(id uint32, schema, name string) []byte {
	return msg("R", id, schema, byte(0), name, byte(0), "d", uint16(0))
}

func begin(lsn uint64) []byte { return msg("B", lsn, uint64(1_500_000), uint32(9)) }

func origin(lsn uint64, name string) []byte { return msg("O", lsn, name, byte(0)) }

var commit = msg("C", byte(0), uint64(0), uint64(0), uint64(0))

func insert(id uint32, what string) []byte { return msg("I", id, "N", what) }

// collect is a decoder that keeps what it tells, each transaction with its changes as text.
func collect(changes bool) (d *decoder, told *[]string) {
	told = &[]string{}
	d = &decoder{names: map[uint32]string{7: "public.known"}}
	var now []string
	if changes {
		d.Change = func(kind byte, table string, row *Fields) error {
			now = append(now, fmt.Sprintf("%c %s %q", kind, table, row.rest))
			return nil
		}
	}
	d.Done = func(t Transaction) error {
		*told = append(*told, fmt.Sprintf("%s %s %s %s %d %v", t.Commit, t.Origin, t.LSN, t.CommittedAt.Format(time.RFC3339Nano), t.Changes, now))
		now = nil
		return nil
	}
	return d, told
}

func TestDecoder(t *testing.T) {
	messages := [][]byte{
		begin(100), origin(1000, "from_n1"), relation(8, "public", "t"), insert(8, "row"), relation(9, "public", "u"),
		msg("T", uint32(1), byte(0), uint32(9)), msg("D", uint32(9), "K"), commit,
		begin(200), relation(9, "public", "v"), msg("U", uint32(9), "N"), commit,
		begin(300), origin(3000, "from_n3"), msg("Y"), commit,
	}
	feed := func(d *decoder, cut bool) {
		for _, m := range messages {
			if cut && !strings.ContainsRune("BCO", rune(m[0])) {
				m = m[:1]
			}
			if err := d.add(m); err != nil {
				t.Fatalf("%q: %v", m, err)
			}
		}
	}
	const at = "2000-01-01T00:00:01.5Z"
	whole, told := collect(true)
	feed(whole, false)
	want := []string{
		"0/64 from_n1 0/3E8 " + at + ` 3 [I public.t "Nrow" T public.u "" D public.u "K"]`,
		"0/C8  0/0 " + at + ` 1 [U public.v "N"]`,
		"0/12C from_n3 0/BB8 " + at + " 0 []",
	}
	if !slices.Equal(*told, want) {
		t.Errorf("got  %q\nwant %q", *told, want)
	}
	// With the rows left on the server it counts the same.
	counts, told := collect(false)
	feed(counts, true)
	want = []string{"0/64 from_n1 0/3E8 " + at + " 3 []", "0/C8  0/0 " + at + " 1 []", "0/12C from_n3 0/BB8 " + at + " 0 []"}
	if !slices.Equal(*told, want) {
		t.Errorf("counted %q\nwant    %q", *told, want)
	}
}

func TestDecoderRefuses(t *testing.T) {
	for _, c := range []struct {
		message []byte
		want    string
	}{
		{nil, "unknown kind"},
		{msg("?"), "unknown kind"},
		{msg("B", uint16(1)), "too soon"},
		{msg("O", uint64(1), "no end"), "too soon"},
		{msg("R", uint32(1), "no end"), "too soon"},
		{msg("I", uint32(99)), "not described"},
		{msg("I", uint16(7)), "not described"},
	} {
		d, _ := collect(true)
		d.now = &Transaction{}
		if err := d.add(c.message); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %q", c.message, err, c.want)
		}
	}
	for _, m := range [][]byte{commit, origin(1, "x"), insert(7, "row")} {
		d, _ := collect(true)
		if err := d.add(m); err == nil || !strings.Contains(err.Error(), "outside a transaction") {
			t.Errorf("%q outside a transaction: %v", m, err)
		}
	}
}

func FuzzDecoder(f *testing.F) {
	for _, m := range [][]byte{begin(1), origin(2, "x"), relation(7, "public", "t"), insert(7, "row"), commit} {
		f.Add(m, true)
	}
	f.Fuzz(func(t *testing.T, m []byte, changes bool) {
		d, _ := collect(changes)
		d.now = &Transaction{}
		if err := d.add(m); err == nil && len(m) == 0 {
			t.Error("an empty message was taken")
		}
	})
}
