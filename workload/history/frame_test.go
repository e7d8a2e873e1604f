package history

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

// readFrames returns the payloads of b, whether its tail is torn, and the error if it is not io.EOF.
func readFrames(r io.Reader) (got [][]byte, torn bool, err error) {
	f := NewFrameReader(r, "x", 0)
	for {
		p, err := f.Next()
		if errors.Is(err, io.EOF) {
			return got, f.Truncated(), nil
		}
		if err != nil {
			return got, false, err
		}
		got = append(got, bytes.Clone(p))
	}
}

func equalFrames(a, b [][]byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !bytes.Equal(a[i], b[i]) {
			return false
		}
	}
	return true
}

func TestFrameRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		frames := rapid.SliceOf(rapid.SliceOfN(rapid.Byte(), 0, 300)).Draw(t, "frames")
		if rapid.IntRange(0, 9).Draw(t, "big") == 0 {
			frames = append(frames, bytes.Repeat([]byte{7}, rapid.IntRange(0, MaxFrame).Draw(t, "size")), []byte("after"))
		}
		var buf bytes.Buffer
		w := NewFrameWriter(&buf)
		for _, f := range frames {
			if err := w.Write(f); err != nil {
				t.Fatal(err)
			}
		}
		var src io.Reader = bytes.NewReader(buf.Bytes())
		if buf.Len() < 10_000 && rapid.Bool().Draw(t, "one byte at a time") {
			src = iotest.OneByteReader(src)
		}
		got, torn, err := readFrames(src)
		if err != nil || torn || !equalFrames(got, frames) {
			t.Fatalf("read %d of %d frames, torn %t: %v", len(got), len(frames), torn, err)
		}
	})
}

func testFrames() (frames [][]byte, file []byte, ends []int) {
	frames = [][]byte{[]byte("first"), {}, bytes.Repeat([]byte("x"), 200), {0, 0, 0}, []byte("last")}
	for _, f := range frames {
		file = AppendFrame(file, f)
		ends = append(ends, len(file))
	}
	return frames, file, ends
}

func TestFramesTruncatedAtEveryByte(t *testing.T) {
	frames, file, ends := testFrames()
	for cut := range len(file) + 1 {
		whole := 0
		boundary := cut == 0
		for _, e := range ends {
			if e <= cut {
				whole++
			}
			boundary = boundary || e == cut
		}
		got, torn, err := readFrames(bytes.NewReader(file[:cut]))
		if err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		if !equalFrames(got, frames[:whole]) || torn == boundary {
			t.Fatalf("cut at %d: read %d frames of %d whole ones, torn %t", cut, len(got), whole, torn)
		}
	}
}

func TestFramesGarbledAtEveryBit(t *testing.T) {
	frames, file, ends := testFrames()
	for i := range file {
		for bit := range 8 {
			b := bytes.Clone(file)
			b[i] ^= 1 << bit
			before := 0
			for before < len(ends) && ends[before] <= i {
				before++
			}
			got, torn, err := readFrames(bytes.NewReader(b))
			var ce *CorruptError
			if !errors.As(err, &ce) || torn || !equalFrames(got, frames[:before]) {
				t.Fatalf("byte %d bit %d: %d frames (want %d), torn %t, err %v", i, bit, len(got), before, torn, err)
			}
			want := int64(0)
			if before > 0 {
				want = int64(ends[before-1])
			}
			if ce.Offset != want || ce.Path != "x" {
				t.Fatalf("byte %d: error at %d of %s, want %d", i, ce.Offset, ce.Path, want)
			}
		}
	}
}

func TestFramesZeroTailIsTorn(t *testing.T) {
	frames, file, _ := testFrames()
	for _, zeros := range []int{8, 100, 300_000} {
		got, torn, err := readFrames(bytes.NewReader(append(bytes.Clone(file), make([]byte, zeros)...)))
		if err != nil || !torn || !equalFrames(got, frames) {
			t.Fatalf("%d zero bytes: %d frames, torn %t, %v", zeros, len(got), torn, err)
		}
		tail := append(append(bytes.Clone(file), make([]byte, zeros)...), 1)
		if _, _, err := readFrames(bytes.NewReader(tail)); err == nil {
			t.Fatalf("%d zero bytes and then another: no error", zeros)
		}
	}
}

func TestFrameReaderPassesSourceError(t *testing.T) {
	_, file, _ := testFrames()
	boom := errors.New("boom")
	got, _, err := readFrames(io.MultiReader(bytes.NewReader(file[:30]), iotest.ErrReader(boom)))
	if !errors.Is(err, boom) || len(got) != 2 {
		t.Fatalf("%d frames, %v", len(got), err)
	}
}

type failingWriter struct{ after int }

func (w *failingWriter) Write(p []byte) (int, error) {
	if w.after--; w.after < 0 {
		return len(p) / 2, errors.New("disk full")
	}
	return len(p), nil
}

func TestFrameWriterErrorIsFinal(t *testing.T) {
	w := NewFrameWriter(&failingWriter{after: 1})
	if err := w.Write([]byte("a")); err != nil {
		t.Fatal(err)
	}
	first := w.Write([]byte("b"))
	if first == nil || w.Write([]byte("c")) != first {
		t.Fatal("a write after a half-written frame must fail")
	}
	if err := NewFrameWriter(io.Discard).Write(make([]byte, MaxFrame+1)); err == nil {
		t.Fatal("a frame beyond the limit was accepted")
	}
}

func TestFrameReaderAllocations(t *testing.T) {
	var file []byte
	for range 2000 {
		file = AppendFrame(file, []byte("some payload of a usual length"))
	}
	src := bytes.NewReader(file)
	f := NewFrameReader(src, "x", 0)
	n := testing.AllocsPerRun(1500, func() {
		if _, err := f.Next(); err != nil {
			t.Fatal(err)
		}
	})
	if n != 0 {
		t.Fatalf("%v allocations per frame", n)
	}
}

func FuzzFrameReader(f *testing.F) {
	_, file, _ := testFrames()
	f.Add(file)
	f.Add(file[:len(file)-2])
	f.Add(make([]byte, 40))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		got, torn, err := readFrames(bytes.NewReader(b))
		// What was read, written again, is exactly the front of the file.
		var again []byte
		for _, p := range got {
			again = AppendFrame(again, p)
		}
		if !bytes.HasPrefix(b, again) {
			t.Fatal("frames were read that the file does not hold")
		}
		if err == nil && torn == (len(again) == len(b)) {
			t.Fatalf("torn %t with %d of %d bytes read", torn, len(again), len(b))
		}
	})
}
