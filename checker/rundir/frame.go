package rundir

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// A frame is a length (4 bytes, little endian), the CRC-32C of the payload (the
// same) and the payload.
const (
	frameHeader  = 8
	maxFrameSize = 1 << 20 // a longer one is garbage, not data to make room for
)

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) } // made once by the package itself

var (
	errFrameTruncated = errors.New("truncated")
	errFrameGarbled   = errors.New("garbled")
)

func writeFrame(w io.Writer, payload []byte) error {
	var h [frameHeader]byte
	binary.LittleEndian.PutUint32(h[:4], uint32(len(payload)))
	binary.LittleEndian.PutUint32(h[4:], crc32.Checksum(payload, castagnoli()))
	if _, err := w.Write(h[:]); err != nil {
		return err
	}
	_, err := w.Write(payload)
	return err
}

// readFrame reads the next frame into buf, which it may grow, and gives its payload: io.EOF at the end.
func readFrame(r io.Reader, buf []byte) ([]byte, error) {
	var h [frameHeader]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, errFrameTruncated
		}
		return nil, err
	}
	n := binary.LittleEndian.Uint32(h[:4])
	if n > maxFrameSize {
		return nil, fmt.Errorf("%w: a frame of %d bytes", errFrameGarbled, n)
	}
	if cap(buf) < int(n) {
		buf = make([]byte, n)
	}
	buf = buf[:n]
	if _, err := io.ReadFull(r, buf); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
			return nil, errFrameTruncated
		}
		return nil, err
	}
	if crc32.Checksum(buf, castagnoli()) != binary.LittleEndian.Uint32(h[4:]) {
		return nil, fmt.Errorf("%w: checksum differs", errFrameGarbled)
	}
	return buf, nil
}
