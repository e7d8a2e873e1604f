package scenario

import (
	"encoding/binary"
	"fmt"
	"reflect"
	"strings"
	"testing"
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

func mark(node, n string) []byte {
	return msg("I", uint32(7), "N", uint16(2), "t", uint32(len(node)), node, "t", uint32(len(n)), n)
}

func begin(lsn uint64) []byte { return msg("B", lsn, uint64(0), uint32(9)) }

func origin(lsn uint64, name string) []byte { return msg("O", lsn, name, byte(0)) }

var commit = msg("C", byte(0), uint64(0), uint64(0), uint64(0))

func TestDecoder(t *testing.T) {
	d := decoder{names: map[uint32]string{}}
	for _, m := range [][]byte{
		begin(100), origin(1000, "from_n1"), relation(7, "scenario", "mark"), mark("n1", "12"), relation(8, "scenario", "queue"),
		msg("T", uint32(1), byte(0), uint32(8)), msg("D", uint32(8), "K"), commit,
		begin(200), relation(9, "spock", "recovery_heartbeat"), msg("U", uint32(9), "N"), commit,
		begin(300), origin(3000, "from_n3"), relation(10, "public", "t"), msg("Y"), msg("U", uint32(10), "N"), mark("n3", "5"), commit,
	} {
		if err := d.add(m); err != nil {
			t.Fatalf("%q: %v", m, err)
		}
	}
	want := []decoded{
		{commit: 100, origin: "from_n1", lsn: 1000, marks: []int{12}, rows: 3},
		{commit: 200, beats: 1},
		{commit: 300, origin: "from_n3", lsn: 3000, marks: []int{5}, rows: 1, changes: 1},
	}
	if !reflect.DeepEqual(d.all, want) {
		t.Errorf("got  %+v\nwant %+v", d.all, want)
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
		{msg("I", uint32(7), "N", uint16(2), "n"), "kind"},
		{msg("I", uint32(7), "N", uint16(2), "t", uint32(1<<31), "x"), "kind"},
		{mark("n1", "x"), "number"},
	} {
		d := decoder{names: map[uint32]string{7: "scenario.mark"}, now: &decoded{}}
		if err := d.add(c.message); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %q", c.message, err, c.want)
		}
	}
	for _, m := range [][]byte{commit, origin(1, "x"), mark("n1", "1")} {
		d := decoder{names: map[uint32]string{7: "scenario.mark"}}
		if err := d.add(m); err == nil || !strings.Contains(err.Error(), "outside a transaction") {
			t.Errorf("%q outside a transaction: %v", m, err)
		}
	}
}

func FuzzDecoder(f *testing.F) {
	for _, m := range [][]byte{begin(1), origin(2, "x"), relation(7, "scenario", "mark"), mark("n1", "12"), commit} {
		f.Add(m)
	}
	f.Fuzz(func(t *testing.T, m []byte) {
		d := decoder{names: map[uint32]string{7: "scenario.mark"}, now: &decoded{}}
		if err := d.add(m); err == nil && len(m) == 0 {
			t.Error("an empty message was taken")
		}
		_ = fmt.Sprint(d.all)
	})
}

// TestCompare shows a clone that is not what the target lacks.
func TestCompare(t *testing.T) {
	data := func(lsn position, marks ...int) decoded { return decoded{lsn: lsn, marks: marks, rows: 2} }
	beat := func(lsn position) decoded { return decoded{lsn: lsn, beats: 1} }
	for name, c := range map[string]struct {
		all   []decoded
		lacks []int
		want  string
	}{
		"right":                    {[]decoded{data(11, 4), beat(12), data(13, 5)}, []int{4, 5}, ""},
		"one is gone":              {[]decoded{beat(12), data(13, 5)}, []int{4, 5}, "lost 1 transactions that n3 needs: 4"},
		"one too many":             {[]decoded{data(11, 4), data(13, 5)}, []int{5}, "does not lack: 4"},
		"one twice":                {[]decoded{data(11, 4), data(12, 4), data(13, 5)}, []int{4, 5}, "twice"},
		"the end is missing":       {[]decoded{data(11, 4), data(12, 5)}, []int{4, 5}, "ends at 0/C"},
		"nothing at all":           {nil, []int{4, 5}, "lost 2"},
		"heartbeats only":          {[]decoded{beat(13)}, nil, "shown nothing"},
		"somebody else's":          {[]decoded{data(11, 4), {lsn: 12, changes: 1}, data(13, 5)}, []int{4, 5}, "not the scenario's"},
		"a transaction of nothing": {[]decoded{data(11, 4), {lsn: 12}, data(13, 5)}, []int{4, 5}, "empty transaction"},
	} {
		t.Run(name, func(t *testing.T) {
			var e evidence
			(&scene{}).compare(&e, c.all, c.lacks, 10, 13)
			if all := strings.Join(e.problems, "; "); !strings.Contains(all, c.want) || (c.want == "") != (all == "") {
				t.Errorf("problems %q, want %q", all, c.want)
			}
		})
	}
}
