package history

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// A frame is one checksummed record of a file:
//
//	4 bytes  little-endian: payload length in the low 20 bits, a check of the length in the high 12
//	4 bytes  little-endian: CRC-32C of the 4 bytes before and of the payload
//	         the payload
//
// The length has a check of its own so that a garbled length is not mistaken for
// the torn end of a file, and never makes a reader allocate for it.

// MaxFrame is the largest payload of a frame, in bytes.
const MaxFrame = 1<<20 - 1

const frameHeader = 8

var castagnoli = crc32.MakeTable(crc32.Castagnoli) // read-only

// lengthCheck is the 12 bits that guard a length: never 0 for length 0, so that
// a run of zero bytes is no frame.
func lengthCheck(n uint32) uint32 {
	return (n*0x9e3779b1 ^ 0x5bd1e995) >> 20
}

// CorruptError says that a file is damaged in a way that no crash of its writer explains.
// Everything before Offset was read and is sound.
type CorruptError struct {
	Path   string
	Offset int64 // of the first byte of the frame that is damaged
	Reason string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("%s: damaged at byte %d: %s", e.Path, e.Offset, e.Reason)
}

// FrameWriter writes frames. Each frame is handed to the underlying writer in one
// Write call, so on a file it is one write(2); a caller that writes many small
// frames that need not reach the file at once puts a bufio.Writer underneath.
// It is not safe for concurrent use.
type FrameWriter struct {
	w   io.Writer
	buf []byte
	err error
}

// NewFrameWriter returns a FrameWriter on w.
func NewFrameWriter(w io.Writer) *FrameWriter { return &FrameWriter{w: w} }

// Write writes one frame. After an error every further call returns that error:
// bytes after a half-written frame would be unreadable.
func (f *FrameWriter) Write(payload []byte) error {
	if f.err != nil {
		return f.err
	}
	if len(payload) > MaxFrame {
		return fmt.Errorf("frame of %d bytes is longer than the %d that are allowed", len(payload), MaxFrame)
	}
	f.buf = AppendFrame(f.buf[:0], payload)
	_, f.err = f.w.Write(f.buf)
	return f.err
}

// AppendFrame appends payload as a frame to dst. The payload must not be longer than MaxFrame.
func AppendFrame(dst, payload []byte) []byte {
	n := uint32(len(payload))
	at := len(dst)
	dst = binary.LittleEndian.AppendUint32(dst, n|lengthCheck(n)<<20)
	sum := crc32.Update(crc32.Checksum(dst[at:], castagnoli), castagnoli, payload)
	dst = binary.LittleEndian.AppendUint32(dst, sum)
	return append(dst, payload...)
}

// FrameReader reads what a FrameWriter wrote. It allocates nothing per frame and
// never more than one frame's worth beyond its buffer. It is not safe for concurrent use.
type FrameReader struct {
	r         io.Reader
	path      string
	buf       []byte
	lo, hi    int   // buf[lo:hi] is read and not yet handed out
	off       int64 // in the file, of buf[lo]
	last      int64 // in the file, of the frame handed out last
	srcErr    error // what the source said after buf[:hi]
	err       error // final
	truncated bool
}

const readChunk = 64 << 10

// NewFrameReader reads frames from r. path names the file in errors; offset is
// where in the file r stands.
func NewFrameReader(r io.Reader, path string, offset int64) *FrameReader {
	return &FrameReader{r: r, path: path, off: offset, last: offset, buf: make([]byte, readChunk)}
}

// Next returns the next frame's payload, which is valid until the next call. It
// returns io.EOF at the end of the file, whether the last frame is whole or torn
// (see Truncated); a *CorruptError where the file is damaged; or the source's own
// error. Errors are final.
func (f *FrameReader) Next() ([]byte, error) {
	// The common case by itself, so that it is short: a whole frame is in the buffer.
	if f.hi-f.lo < frameHeader && !f.fill(frameHeader) {
		return nil, f.err
	}
	b := f.buf[f.lo:f.hi]
	word := binary.LittleEndian.Uint32(b)
	n := word & MaxFrame
	if word>>20 != lengthCheck(n) {
		return nil, f.damaged("the length of a record is garbled")
	}
	size := frameHeader + int(n)
	if len(b) < size {
		if !f.fill(size) {
			return nil, f.err
		}
		b = f.buf[f.lo:f.hi]
	}
	payload := b[frameHeader:size:size]
	sum := crc32.Update(crc32.Checksum(b[:4], castagnoli), castagnoli, payload)
	if sum != binary.LittleEndian.Uint32(b[4:]) {
		return nil, f.damaged("the checksum of a record is wrong")
	}
	f.last = f.off
	f.lo += size
	f.off += int64(size)
	return payload, nil
}

// Truncated says, after Next returned io.EOF, whether the file ends in the middle
// of a frame: what a crash of the writer leaves.
func (f *FrameReader) Truncated() bool { return f.truncated }

// Offset is where in the file the frame that Next returned last begins.
func (f *FrameReader) Offset() int64 { return f.last }

// Corrupt returns the error for a frame whose checksum is right but whose payload
// makes no sense, placed at the frame that Next returned last.
func (f *FrameReader) Corrupt(reason string) *CorruptError {
	return &CorruptError{Path: f.path, Offset: f.last, Reason: reason}
}

// fill makes buf[lo:] hold at least n bytes. If it cannot it sets f.err and reports false.
func (f *FrameReader) fill(n int) bool {
	if f.err != nil {
		return false
	}
	if f.lo > 0 {
		copy(f.buf, f.buf[f.lo:f.hi])
		f.lo, f.hi = 0, f.hi-f.lo
	}
	if n > len(f.buf) {
		buf := make([]byte, (n+readChunk-1)/readChunk*readChunk)
		copy(buf, f.buf[:f.hi])
		f.buf = buf
	}
	empty := 0
	for f.hi < n && f.srcErr == nil {
		var m int
		m, f.srcErr = f.r.Read(f.buf[f.hi:])
		f.hi += m
		if m > 0 {
			empty = 0
		} else if empty++; empty == 100 && f.srcErr == nil {
			f.srcErr = io.ErrNoProgress
		}
	}
	if f.hi >= n {
		return true
	}
	if !errors.Is(f.srcErr, io.EOF) {
		f.err = fmt.Errorf("read %s at byte %d: %w", f.path, f.off, f.srcErr)
		return false
	}
	f.truncated = f.hi > 0
	f.err = io.EOF
	return false
}

// damaged decides what unreadable bytes are. A file that ends in zero bytes alone
// was torn by a crash of the machine (the size was on disk, the data not yet);
// everything else is damage.
func (f *FrameReader) damaged(reason string) error {
	f.err = &CorruptError{Path: f.path, Offset: f.off, Reason: reason}
	for _, c := range f.buf[f.lo:f.hi] {
		if c != 0 {
			return f.err
		}
	}
	f.lo = f.hi // nothing of it is needed any more
	for empty := 0; f.srcErr == nil && empty < 100; empty++ {
		var m int
		m, f.srcErr = f.r.Read(f.buf)
		for _, c := range f.buf[:m] {
			if c != 0 {
				f.hi = f.lo
				return f.err
			}
		}
		if m > 0 {
			empty = 0
		}
	}
	f.lo, f.hi = 0, 0
	if errors.Is(f.srcErr, io.EOF) {
		f.truncated = true
		f.err = io.EOF
	}
	return f.err
}
