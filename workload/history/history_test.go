package history

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 678901234, time.UTC)

func drawOps(t *rapid.T) []Op {
	count := rapid.IntRange(0, 40).Draw(t, "ops")
	ops := make([]Op, count)
	now := start
	// Clocks step back too.
	step := rapid.Int64Range(-int64(time.Second), int64(time.Minute))
	for i := range ops {
		now = now.Add(time.Duration(step.Draw(t, "step")))
		op := Op{N: int64(i + 1), InvokedAt: now}
		for range rapid.IntRange(0, 6).Draw(t, "effects") {
			op.Effects = append(op.Effects, Effect{
				Kind:  EffectKind(rapid.IntRange(int(EventInsert), int(ConflictPut)).Draw(t, "kind")),
				Key:   rapid.Int64().Draw(t, "key"),
				Key2:  rapid.Int64().Draw(t, "key2"),
				Value: rapid.Int64().Draw(t, "value"),
			})
		}
		if rapid.IntRange(0, 9).Draw(t, "lost") > 0 {
			now = now.Add(time.Duration(step.Draw(t, "took")))
			op.CompletedAt = now
			op.Outcome = Outcome(rapid.IntRange(0, 2).Draw(t, "outcome"))
			op.SQLState = rapid.SampledFrom([]string{"", "", "40001", "57P01"}).Draw(t, "state")
		}
		ops[i] = op
	}
	return ops
}

func writeOps(t interface{ Fatal(...any) }, path string, h Header, ops []Op) {
	w, err := Create(path, h)
	if err != nil {
		t.Fatal(err)
	}
	for _, op := range ops {
		if err := w.Invoke(op.N, op.InvokedAt, op.Effects); err != nil {
			t.Fatal(err)
		}
		if !op.CompletedAt.IsZero() {
			if err := w.Complete(op.N, op.CompletedAt, op.Outcome, op.SQLState); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal("second close:", err)
	}
}

// readOps reads a whole history. The error is nil at its end.
func readOps(r *Reader) (ops []Op, err error) {
	var op Op
	for {
		err := r.Next(&op)
		if errors.Is(err, io.EOF) {
			return ops, nil
		}
		if err != nil {
			if again := r.Next(&op); again != err {
				return ops, errors.New("an error was not final")
			}
			return ops, err
		}
		c := op
		c.Effects = append([]Effect(nil), op.Effects...)
		ops = append(ops, c)
	}
}

func TestHistoryRoundTrip(t *testing.T) {
	dir := t.TempDir()
	i := 0
	rapid.Check(t, func(t *rapid.T) {
		i++
		path := filepath.Join(dir, "a.hist")
		defer func() { _ = os.Remove(path) }()
		h := Header{
			Session:  rapid.IntRange(0, 1<<31-1).Draw(t, "session"),
			Node:     rapid.StringN(0, 20, 40).Draw(t, "node"),
			Workload: rapid.StringN(0, 20, 40).Draw(t, "workload"),
			Seed:     rapid.Uint64().Draw(t, "seed"),
		}
		ops := drawOps(t)
		writeOps(t, path, h, ops)
		r, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = r.Close() }()
		if r.Header() != h {
			t.Fatalf("header %+v, want %+v", r.Header(), h)
		}
		got, err := readOps(r)
		if err != nil || r.Truncated() {
			t.Fatal(err, r.Truncated())
		}
		if len(got) != len(ops) {
			t.Fatalf("%d operations, want %d", len(got), len(ops))
		}
		for i := range ops {
			if !reflect.DeepEqual(got[i], ops[i]) {
				t.Fatalf("operation %d:\n%+v, want\n%+v", i, got[i], ops[i])
			}
		}
	})
}

func someOps() []Op {
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	return []Op{
		{N: 1, InvokedAt: at(0), CompletedAt: at(1), Outcome: OK},
		{N: 2, InvokedAt: at(2), CompletedAt: at(9), Outcome: Fail, SQLState: "40001",
			Effects: []Effect{{Kind: Transfer, Key: 1_000_001, Key2: 1_000_002, Value: 17}}},
		{N: 3, InvokedAt: at(10)},
		{N: 4, InvokedAt: at(5000), CompletedAt: at(5001), Outcome: Unknown, SQLState: "57P01",
			Effects: []Effect{{Kind: RegisterInsert, Key: 3<<32 | 5, Value: -1}, {Kind: RegisterDelete, Key: 3<<32 | 6}}},
		{N: 5, InvokedAt: at(5002), CompletedAt: at(5003), Outcome: OK, Effects: []Effect{{Kind: EventInsert, Value: 4}}},
	}
}

// A history cut anywhere gives the operations whose invocation is whole, the last
// maybe without its completion, and nothing else.
func TestHistoryTruncatedAtEveryByte(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.hist")
	ops := someOps()
	writeOps(t, path, Header{Session: 3, Node: "n1", Workload: "register", Seed: 42}, ops)
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	last := 0
	for cut := range len(file) + 1 {
		r, err := newReader(bytes.NewReader(file[:cut]), "cut")
		if errors.Is(err, ErrNoHeader) && last == 0 {
			continue
		}
		if err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		got, err := readOps(r)
		if err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		if len(got) < last {
			t.Fatalf("cut at %d: %d operations, %d before", cut, len(got), last)
		}
		last = len(got)
		for i := range got {
			want := ops[i]
			if i == len(got)-1 && got[i].CompletedAt.IsZero() {
				want.CompletedAt, want.Outcome, want.SQLState = time.Time{}, Unknown, ""
			}
			if !reflect.DeepEqual(got[i], want) {
				t.Fatalf("cut at %d, operation %d: %+v, want %+v", cut, i, got[i], want)
			}
		}
		if cut == len(file) && (r.Truncated() || len(got) != len(ops)) {
			t.Fatal("the whole file does not read as whole")
		}
	}
}

func TestHistoryGarbledAtEveryByte(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.hist")
	ops := someOps()
	writeOps(t, path, Header{Session: 3, Node: "n1", Workload: "register", Seed: 42}, ops)
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range file {
		b := bytes.Clone(file)
		b[i] ^= 0x55
		r, err := newReader(bytes.NewReader(b), "garbled")
		var got []Op
		if err == nil {
			got, err = readOps(r)
		}
		var ce *CorruptError
		if !errors.As(err, &ce) && !(i < len(magic) && errors.Is(err, ErrNotHistory)) {
			t.Fatalf("byte %d: %v", i, err)
		}
		for k := range got {
			if k < len(got)-1 && !reflect.DeepEqual(got[k], ops[k]) {
				t.Fatalf("byte %d: operation %d is %+v", i, k, got[k])
			}
		}
	}
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	newer := AppendFrame([]byte(magic), []byte{version + 1, 1, 2, 3})
	for _, tc := range []struct {
		path string
		want error
		text string
	}{
		{write("text", "hello, this is not a history"), ErrNotHistory, "text: not a history"},
		{write("short", "hi"), ErrNotHistory, "short"},
		{write("empty", ""), ErrNoHeader, "empty"},
		{write("half", magic[:5]), ErrNoHeader, "half"},
		{write("magic", magic+"\x01"), ErrNoHeader, "magic"},
		{write("newer", string(newer)), nil, "format version 2"},
		{filepath.Join(dir, "missing"), os.ErrNotExist, "missing"},
		{dir, nil, dir},
	} {
		_, err := Open(tc.path)
		if err == nil || (tc.want != nil && !errors.Is(err, tc.want)) || !strings.Contains(err.Error(), tc.text) {
			t.Errorf("%s: %v", tc.path, err)
		}
	}
}

func TestWriterRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.hist")
	w, err := Create(path, Header{Session: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Create(path, Header{Session: 1}); !errors.Is(err, os.ErrExist) {
		t.Fatalf("an existing history was overwritten: %v", err)
	}
	for name, err := range map[string]error{
		"gap":                w.Invoke(2, start, nil),
		"complete nothing":   w.Complete(1, start, OK, ""),
		"effect of no kind":  w.Invoke(1, start, []Effect{{}}),
		"effects by the ton": w.Invoke(1, start, make([]Effect, MaxEffects+1)),
	} {
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if err := w.Invoke(1, start, nil); err != nil {
		t.Fatal(err)
	}
	if w.Complete(1, start, OK, "long state") == nil || w.Complete(1, start, Fail+1, "") == nil {
		t.Fatal("a bad completion was accepted")
	}
	if err := w.Complete(1, start, OK, ""); err != nil {
		t.Fatal(err)
	}
	if w.Complete(1, start, OK, "") == nil {
		t.Fatal("a second completion was accepted")
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.Invoke(2, start, nil); !errors.Is(err, os.ErrClosed) {
		t.Fatalf("after close: %v", err)
	}
}

// The invocation is in the file when Invoke returns, with the completion before it.
func TestInvokeIsInTheFileAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.hist")
	w, err := Create(path, Header{Session: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Close() }()
	read := func() []Op {
		r, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = r.Close() }()
		ops, err := readOps(r)
		if err != nil {
			t.Fatal(err)
		}
		return ops
	}
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	must(w.Invoke(1, start, nil))
	if ops := read(); len(ops) != 1 || !ops[0].CompletedAt.IsZero() {
		t.Fatalf("after the first invocation: %+v", ops)
	}
	must(w.Complete(1, start, OK, ""))
	must(w.Invoke(2, start, nil))
	if ops := read(); len(ops) != 2 || ops[0].Outcome != OK {
		t.Fatalf("after the second invocation: %+v", ops)
	}
	must(w.Complete(2, start, Fail, "40001"))
	must(w.Flush())
	if ops := read(); len(ops) != 2 || ops[1].Outcome != Fail || ops[1].SQLState != "40001" {
		t.Fatalf("after the flush: %+v", ops)
	}
}

func TestPad(t *testing.T) {
	p := Pad(1, 2, 3)
	if len(p) != PadLength || p == Pad(2, 2, 3) || p == Pad(1, 3, 3) || p == Pad(1, 2, 4) || p != Pad(1, 2, 3) {
		t.Fatal("pads must be of one length and differ with each argument")
	}
	// select ('x'||substr(md5('spockchaos'),1,15))::bit(60)::bigint
	if got := PadSum("spockchaos"); got != padSumOfName {
		t.Fatalf("PadSum is %d", got)
	}
}

func TestDumpJSON(t *testing.T) {
	dir := t.TempDir()
	hist := filepath.Join(dir, "rounds", "001", "history")
	if err := os.MkdirAll(hist, 0o755); err != nil {
		t.Fatal(err)
	}
	ops := someOps()
	for _, name := range []string{"10.hist", "2.hist"} {
		writeOps(t, filepath.Join(hist, name), Header{Session: 2, Node: "n1", Workload: "bank", Seed: 9}, ops)
	}
	path := filepath.Join(hist, "10.hist")
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, st.Size()-1); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := DumpJSON(&out, dir); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 2*len(ops)+1 {
		t.Fatalf("%d lines:\n%s", len(lines), out.String())
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(lines[1]), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"file": filepath.Join("rounds", "001", "history", "2.hist"), "session": 2.0, "node": "n1", "workload": "bank", "n": 2.0,
		"invoked_at": "2026-01-02T03:04:05.680901234Z", "completed_at": "2026-01-02T03:04:05.687901234Z",
		"outcome": "fail", "sqlstate": "40001", "value": float64(LedgerValue(9, 2, 2)),
		"effects": []any{map[string]any{"kind": "transfer", "key": 1000001.0, "key2": 1000002.0, "value": 17.0}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%s", lines[1])
	}
	if !strings.Contains(lines[len(lines)-1], `"truncated":true`) {
		t.Fatalf("last line: %s", lines[len(lines)-1])
	}
	if err := DumpJSON(io.Discard, t.TempDir()); err == nil {
		t.Fatal("an empty directory was dumped")
	}
	if err := DumpJSON(io.Discard, filepath.Join(dir, "nothing")); err == nil {
		t.Fatal("a missing directory was dumped")
	}
}

func FuzzReader(f *testing.F) {
	path := filepath.Join(f.TempDir(), "s.hist")
	writeOps(f, path, Header{Session: 3, Node: "n1", Workload: "register", Seed: 42}, someOps())
	file, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(file)
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := newReader(bytes.NewReader(b), "fuzz")
		if err != nil {
			return
		}
		ops, _ := readOps(r)
		for i, op := range ops {
			if op.N != int64(i+1) {
				t.Fatalf("operation %d has number %d", i+1, op.N)
			}
		}
	})
}

// FuzzEntries gives the decoder payloads whose checksums are right.
func FuzzEntries(f *testing.F) {
	f.Add([]byte{tagInvoke, 1, 0, 0, tagComplete | 1<<4, 2}, []byte{tagInvoke, 2, 4, 1, 7 | effectKey, 9})
	f.Add([]byte{tagInvoke, 1, 0, 1, 3 | effectKey | effectKey2 | effectValue, 1, 2, 3}, []byte{tagComplete | hasState | 2<<4, 0, '4', '0', '0', '0', '1'})
	f.Fuzz(func(t *testing.T, p1, p2 []byte) {
		if len(p1) > MaxFrame || len(p2) > MaxFrame {
			return
		}
		file := AppendFrame([]byte(magic), appendHeader(nil, Header{Session: 1}))
		file = AppendFrame(AppendFrame(file, p1), p2)
		r, err := newReader(bytes.NewReader(file), "fuzz")
		if err != nil {
			t.Fatal(err)
		}
		ops, err := readOps(r)
		if r.Truncated() {
			t.Fatal("a whole file reads as torn")
		}
		if err != nil {
			var ce *CorruptError
			if !errors.As(err, &ce) {
				t.Fatal(err)
			}
			return
		}
		// What could be read can be written, and reads the same again.
		path := filepath.Join(t.TempDir(), "again.hist")
		w, err := Create(path, Header{Session: 1})
		if err != nil {
			t.Fatal(err)
		}
		for _, op := range ops {
			if err := w.Invoke(op.N, op.InvokedAt, op.Effects); err != nil {
				t.Fatal(err)
			}
			if !op.CompletedAt.IsZero() {
				if err := w.Complete(op.N, op.CompletedAt, op.Outcome, op.SQLState); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		r, err = Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = r.Close() }()
		again, err := readOps(r)
		if err != nil || !reflect.DeepEqual(again, ops) {
			t.Fatalf("%+v\n%+v\n%v", ops, again, err)
		}
	})
}

func TestReaderAllocations(t *testing.T) {
	r := benchReader(t, 5000)
	var op Op
	if err := r.Next(&op); err != nil {
		t.Fatal(err)
	}
	n := testing.AllocsPerRun(3000, func() {
		if err := r.Next(&op); err != nil {
			t.Fatal(err)
		}
	})
	if n > 0.01 {
		t.Fatalf("%v allocations per operation read", n)
	}
}

func benchReader(t testing.TB, ops int) *Reader {
	path := filepath.Join(t.TempDir(), "bench.hist")
	w, err := Create(path, Header{Session: 1, Node: "n1", Workload: "ledger", Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	at := start
	for i := range int64(ops) {
		var effects []Effect
		if i%2 == 0 {
			effects = []Effect{{Kind: RegisterUpdate, Key: 1<<32 | i%200, Value: int64(LedgerValue(1, 1, i))}}
		}
		if err := w.Invoke(i+1, at, effects); err != nil {
			t.Fatal(err)
		}
		at = at.Add(187_431)
		if err := w.Complete(i+1, at, OK, ""); err != nil {
			t.Fatal(err)
		}
		at = at.Add(8_431)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func BenchmarkRead(b *testing.B) {
	b.ReportAllocs()
	r := benchReader(b, b.N)
	var op Op
	b.ResetTimer()
	for range b.N {
		if err := r.Next(&op); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
}

func BenchmarkWrite(b *testing.B) {
	w, err := Create(filepath.Join(b.TempDir(), "w.hist"), Header{Session: 1})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.ResetTimer()
	at := start
	for i := range int64(b.N) {
		if err := w.Invoke(i+1, at, nil); err != nil {
			b.Fatal(err)
		}
		if err := w.Complete(i+1, at, OK, ""); err != nil {
			b.Fatal(err)
		}
		at = at.Add(187_431)
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
}

// What PostgreSQL 15 answers for md5('spockchaos').
const padSumOfName = 0x0ca89417b8b8c6d
