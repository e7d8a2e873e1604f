package rundir

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestWriteJSONReplacesAndLeavesNothingBeside(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rounds", "001", RoundFile)
	want := Round{Number: 1, Kind: KindLoss, Failed: "n1", Survivors: []string{"n2"}, LostAt: time.Unix(5, 7).UTC()}
	for range 2 {
		if err := WriteJSON(path, want); err != nil {
			t.Fatal(err)
		}
	}
	var got Round
	if err := ReadJSON(path, &got); err != nil {
		t.Fatal(err)
	}
	if got.Failed != "n1" || !got.LostAt.Equal(want.LostAt) {
		t.Errorf("read %+v", got)
	}
	names, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(names) != 1 {
		t.Errorf("directory holds %v, %v", names, err)
	}
	if err := WriteJSON(path, func() {}); err == nil {
		t.Error("a function was written as JSON")
	}
	if err := ReadJSON(path, &got); err != nil {
		t.Errorf("a failed write spoilt the file: %v", err)
	}
}

func TestReadJSONErrorsNameTheFile(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"empty": "", "cut": `{"number": 1, "kind`, "more": `{} {}`, "type": `{"number": "x"}`} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		var r Round
		err := ReadJSON(path, &r)
		if err == nil || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
	var r Round
	if err := ReadJSON(filepath.Join(dir, "none"), &r); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
}

func TestLinesFromManyGoroutines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "d", EventsFile)
	l, err := OpenLines(path)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				if err := l.Append(NodeEvent{Node: "n1", Kind: EventKill}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	n := 0
	if err := EachLine(path, func(e NodeEvent) error {
		if e.Kind != EventKill {
			t.Errorf("read %+v", e)
		}
		n++
		return nil
	}); err != nil || n != 400 {
		t.Errorf("%d records, %v", n, err)
	}
}

func TestOpenLinesCutsATornLineOff(t *testing.T) {
	path := filepath.Join(t.TempDir(), EventsFile)
	if err := os.WriteFile(path, []byte(`{"node":"n1"}`+"\n"+`{"node":"n`), 0o644); err != nil {
		t.Fatal(err)
	}
	l, err := OpenLines(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Append(NodeEvent{Node: "n2"}); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	var got []string
	if err := EachLine(path, func(e NodeEvent) error { got = append(got, e.Node); return nil }); err != nil {
		t.Fatal(err)
	}
	if strings.Join(got, " ") != "n1 n2" {
		t.Errorf("read %v", got)
	}
}

func TestEachLine(t *testing.T) {
	long := strings.Repeat("x", 200<<10)
	for _, c := range []struct {
		name, text, want, err string
	}{
		{"nothing", "", "", ""},
		{"two", "{\"node\":\"a\"}\n{\"node\":\"b\"}\n", "a b", ""},
		{"torn last line", "{\"node\":\"a\"}\n{\"node\":", "a", ""},
		{"whole last line without its newline is torn too", "{\"node\":\"a\"}\n{\"node\":\"b\"}", "a", ""},
		{"garbage in the middle", "{\"node\":\"a\"}\nxx\n{\"node\":\"b\"}\n", "a", "line 2"},
		{"garbage in a whole last line", "{\"node\":\"a\"}\n{\"node\":\n", "a", "line 2"},
		{"empty line", "{\"node\":\"a\"}\n\n{\"node\":\"b\"}\n", "a", "line 2"},
		{"two values in a line", "{\"node\":\"a\"} {\"node\":\"b\"}\n", "", "line 1"},
		{"long line", "{\"node\":\"" + long + "\"}\n", long, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.jsonl")
			if err := os.WriteFile(path, []byte(c.text), 0o644); err != nil {
				t.Fatal(err)
			}
			var got []string
			err := EachLine(path, func(e NodeEvent) error { got = append(got, e.Node); return nil })
			if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err) || !strings.Contains(err.Error(), path)) {
				t.Errorf("error %v, want %q", err, c.err)
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("read %.100v", got)
			}
		})
	}
	if err := EachLine(filepath.Join(t.TempDir(), "none"), func(NodeEvent) error { return nil }); err != nil {
		t.Errorf("missing file: %v", err)
	}
}

func TestOpen(t *testing.T) {
	good := Run{SchemaVersion: SchemaVersion, Nodes: []string{"n1", "n2"}}
	for _, c := range []struct {
		name string
		make func(dir string) error
		err  string
	}{
		{"good", func(d string) error { return WriteJSON(filepath.Join(d, RunFile), good) }, ""},
		{"empty directory", func(string) error { return nil }, "not a run directory"},
		{"newer", func(d string) error {
			r := good
			r.SchemaVersion++
			return WriteJSON(filepath.Join(d, RunFile), r)
		}, "newer spockchaos"},
		{"some other run.json", func(d string) error { return WriteJSON(filepath.Join(d, RunFile), map[string]int{"a": 1}) }, "not a run directory"},
		{"garbled", func(d string) error { return os.WriteFile(filepath.Join(d, RunFile), []byte("{"), 0o644) }, "truncated"},
		{"no nodes", func(d string) error { return WriteJSON(filepath.Join(d, RunFile), Run{SchemaVersion: 1}) }, "no nodes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := c.make(dir); err != nil {
				t.Fatal(err)
			}
			d, err := Open(dir)
			if c.err == "" {
				if err != nil || len(d.Run.Nodes) != 2 {
					t.Errorf("%+v, %v", d, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.err) || !strings.Contains(err.Error(), dir) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %v, want %q", err, c.err)
			}
		})
	}
	if _, err := Open(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a missing directory was opened")
	}
}

func TestRoundsOfAKilledRun(t *testing.T) {
	d := &Dir{Path: t.TempDir()}
	want := func(n int) {
		t.Helper()
		if got, err := d.Rounds(); err != nil || got != n {
			t.Errorf("%d rounds, %v; want %d", got, err, n)
		}
	}
	want(0)
	for _, name := range []string{"001", "002", "7", "x", "-01", "0009"} {
		if err := os.MkdirAll(filepath.Join(d.Path, "rounds", name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	want(2)
	d.Run.Rounds = 5
	want(5)
}

func TestLSN(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := LSN(rapid.Uint64().Draw(t, "lsn"))
		got, err := ParseLSN(l.String())
		if err != nil || got != l {
			t.Fatalf("%v became %v, %v", l, got, err)
		}
	})
	for _, s := range []string{"", "/", "1", "1/", "/1", "100000000/0", "0/100000000", "0/-1", "g/0", "0/0/0", " 0/0"} {
		if l, err := ParseLSN(s); err == nil {
			t.Errorf("%q became %v", s, l)
		}
	}
}

func FuzzParseLSN(f *testing.F) {
	for _, s := range []string{"0/0", "16/B374D848", "FFFFFFFF/FFFFFFFF", "x", "1/+1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		l, err := ParseLSN(s)
		if err != nil {
			return
		}
		if m, err := ParseLSN(l.String()); err != nil || m != l {
			t.Errorf("%q became %v and then %v, %v", s, l, m, err)
		}
	})
}

func FuzzLines(f *testing.F) {
	f.Add([]byte("{\"node\":\"n1\",\"slot\":{\"restart_lsn\":\"0/1\"}}\n{\"node\""))
	f.Add([]byte("\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		n := 0
		err := eachLine("x", bytes.NewReader(b), func(Sample) error { n++; return nil })
		if lines := bytes.Count(b, []byte("\n")); err == nil && n != lines || n > lines {
			t.Errorf("%d records in %d lines, %v", n, lines, err)
		}
	})
}

// writeRows makes a row file and gives its path.
func writeRows(t interface {
	Fatal(...any)
	Helper()
}, dir, table string, rows [][]int64) string {
	t.Helper()
	path := filepath.Join(dir, table)
	w, err := CreateRows(path, table)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		if err := w.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// readRows reads until an error, which is nil at the file's proper end.
func readRows(path, table string) (rows [][]int64, err error) {
	r, err := OpenRows(path, table)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	for {
		row, err := r.Next()
		if errors.Is(err, io.EOF) {
			return rows, nil
		}
		if err != nil {
			return rows, err
		}
		rows = append(rows, append([]int64(nil), row...))
	}
}

func TestRowsRoundTrip(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		table := rapid.SampledFrom(Tables).Draw(t, "table")
		rows := rapid.SliceOfN(rapid.SliceOfN(rapid.Int64(), Columns(table), Columns(table)), 0, 200).Draw(t, "rows")
		sortRows(rows)
		got, err := readRows(writeRows(t, dir, table, rows), table)
		if err != nil || len(got) != len(rows) {
			t.Fatalf("%d rows became %d, %v", len(rows), len(got), err)
		}
		for i := range rows {
			if compareRows(got[i], rows[i]) != 0 {
				t.Fatalf("row %d: %v became %v", i, rows[i], got[i])
			}
		}
	})
}

func sortRows(rows [][]int64) {
	for i := 1; i < len(rows); i++ {
		for j := i; j > 0 && compareRows(rows[j-1], rows[j]) > 0; j-- {
			rows[j-1], rows[j] = rows[j], rows[j-1]
		}
	}
}

func manyRows(n int) [][]int64 {
	rows := make([][]int64, n)
	for i := range rows {
		rows[i] = []int64{int64(i / 1000), int64(i % 1000), int64(i) * 0x1234567890ab}
	}
	return rows
}

// Every cut and every flipped bit must be seen: a short table is a wrong verdict.
func TestRowsDamageIsSeen(t *testing.T) {
	dir := t.TempDir()
	rows := manyRows(20_000) // several frames
	path := writeRows(t, dir, TableLedger, rows)
	if got, err := readRows(path, TableLedger); err != nil || len(got) != len(rows) {
		t.Fatalf("%d rows, %v", len(got), err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		b := bytes.Clone(whole)
		if rapid.Bool().Draw(t, "cut") {
			b = b[:rapid.IntRange(0, len(b)-1).Draw(t, "at")]
		} else {
			b[rapid.IntRange(0, len(b)-1).Draw(t, "at")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		}
		bad := filepath.Join(dir, "bad")
		if err := os.WriteFile(bad, b, 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := readRows(bad, TableLedger)
		if err == nil || !strings.Contains(err.Error(), bad) || strings.Contains(err.Error(), "\n") {
			t.Fatalf("damage gave %v", err)
		}
	})
	if err := os.WriteFile(path, append(whole, 0), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := readRows(path, TableLedger); err == nil {
		t.Error("a byte after the end was not seen")
	}
}

func TestRowsOrderAndWidth(t *testing.T) {
	dir := t.TempDir()
	w, err := CreateRows(filepath.Join(dir, "x"), TableEvent)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range [][]int64{{1, 2, 0}, {1, 2, 0}, {1, 2, 1}} {
		if err := w.Write(r); err != nil {
			t.Errorf("%v: %v", r, err)
		}
	}
	if err := w.Write([]int64{1, 1, 9}); err == nil {
		t.Error("a row out of order was written")
	}
	if err := w.Write([]int64{1, 3}); err == nil {
		t.Error("a narrow row was written")
	}
	if err := w.Abort(); err != nil {
		t.Error(err)
	}
	if names, _ := os.ReadDir(dir); len(names) != 0 {
		t.Errorf("an aborted writer left %v", names)
	}
	// Rows that are in order for one table are not for another with the same width.
	path := writeRows(t, dir, TableLedger, [][]int64{{1, 1, 5}, {1, 1, 4}})
	if _, err := readRows(path, TableLedger); err != nil {
		t.Error(err)
	}
	if _, err := readRows(path, TableEvent); err == nil || !strings.Contains(err.Error(), "out of order") {
		t.Errorf("out of order gave %v", err)
	}
	if _, err := readRows(path, TableBulk); err == nil {
		t.Error("3 columns were read as 4")
	}
	if _, err := CreateRows(path, "nonsense"); err == nil {
		t.Error("a file for an unknown table was made")
	}
}

func FuzzRows(f *testing.F) {
	dir := f.TempDir()
	for _, rows := range [][][]int64{nil, {{1, 1, 7}, {1, 2, -7}, {2, 1, 0}}} {
		b, err := os.ReadFile(writeRows(f, dir, TableLedger, rows))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := newRowReader(bytes.NewReader(b), "x", TableLedger)
		for err == nil {
			_, err = r.Next()
		}
		if errors.Is(err, io.EOF) && int(r.Rows())*3 > len(b) {
			t.Errorf("%d rows out of %d bytes", r.Rows(), len(b))
		}
	})
}

func BenchmarkRows(b *testing.B) {
	path := writeRows(b, b.TempDir(), TableLedger, manyRows(100_000))
	for b.Loop() {
		r, err := OpenRows(path, TableLedger)
		for err == nil {
			_, err = r.Next()
		}
		if !errors.Is(err, io.EOF) {
			b.Fatal(err)
		}
		r.Close()
	}
	b.ReportMetric(float64(100_000)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}
