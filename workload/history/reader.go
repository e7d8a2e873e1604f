package history

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// ErrNotHistory is wrapped by Open's error for a file that is not a history.
var ErrNotHistory = errors.New("not a history file")

// ErrNoHeader is wrapped by Open's error for a file that ends before its header is
// whole: its writer was killed while it made the file. No operation was recorded
// in it, and so none was sent.
var ErrNoHeader = errors.New("ends before its header is whole: no operation was recorded")

// Reader reads a history file in order. It is not safe for concurrent use.
type Reader struct {
	f      io.Closer
	frames *FrameReader
	header Header
	in     entries
	err    error
}

// Open opens a history and reads its header.
func Open(path string) (*Reader, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open history: %w", err)
	}
	r, err := newReader(f, path)
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	r.f = f
	return r, nil
}

func newReader(src io.Reader, path string) (*Reader, error) {
	var first [len(magic)]byte
	n, err := io.ReadFull(src, first[:])
	switch {
	case err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		return nil, fmt.Errorf("open history %s: %w", path, err)
	case string(first[:n]) != magic[:n]:
		return nil, fmt.Errorf("%s: %w", path, ErrNotHistory)
	case n < len(magic):
		return nil, fmt.Errorf("%s: %w", path, ErrNoHeader)
	}
	r := &Reader{frames: NewFrameReader(src, path, int64(len(magic)))}
	payload, err := r.frames.Next()
	if errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: %w", path, ErrNoHeader)
	}
	if err != nil {
		return nil, err
	}
	if r.header, err = decodeHeader(payload); err != nil {
		return nil, r.frames.Corrupt(err.Error())
	}
	return r, nil
}

// Header is the file's header.
func (r *Reader) Header() Header { return r.header }

// Next reads the next operation into op, reusing the array behind op.Effects. An
// operation whose completion was never recorded is Unknown with a zero CompletedAt.
// It returns io.EOF at the end (see Truncated), a *CorruptError where the file is
// damaged: every operation before that place was returned.
func (r *Reader) Next(op *Op) error {
	if r.err != nil {
		return r.err
	}
	if !r.more() {
		return r.err
	}
	if tag := r.in.byte(); tag != tagInvoke {
		if isComplete(tag) {
			return r.corrupt(errors.New("a completion has no invocation before it"))
		}
		return r.corrupt(fmt.Errorf("a record has the unknown tag %d", tag))
	}
	if err := r.in.invoke(op); err != nil {
		return r.corrupt(err)
	}
	// Its completion is the entry that follows, if the session lived to record one. An
	// error here is about what follows op: the next call returns it.
	if !r.more() || !isComplete(r.in.b[0]) {
		return nil
	}
	if err := r.in.complete(r.in.byte(), op); err != nil {
		_ = r.corrupt(err)
	}
	return nil
}

// more makes the rest of a frame available; if there is none it sets r.err.
func (r *Reader) more() bool {
	for len(r.in.b) == 0 {
		if r.in.b, r.err = r.frames.Next(); r.err != nil {
			return false
		}
	}
	return true
}

func (r *Reader) corrupt(err error) error {
	r.err = r.frames.Corrupt(err.Error())
	return r.err
}

// Truncated says, after Next returned io.EOF, whether the file ends in the middle
// of a record, as a crash of the writer leaves it.
func (r *Reader) Truncated() bool { return r.frames.Truncated() }

// Close closes the file.
func (r *Reader) Close() error {
	if r.f == nil {
		return nil
	}
	return r.f.Close()
}
