package history

import (
	"encoding/binary"
	"fmt"
	"os"
	"time"
)

// Writer appends one session's operations to its history file. A write(2) is made
// for each invocation, before Invoke returns; the completion before it rides in the
// same write. So after a kill of the program nothing that was sent is missing, and
// at most the last outcome is (it reads as unknown). It is not safe for concurrent use.
type Writer struct {
	f       *os.File
	frames  *FrameWriter
	payload []byte // entries that are not yet written: at most a completion
	n       int64
	open    bool
	clock   int64
	err     error
}

// Create makes a new history file; it is an error if path exists.
func Create(path string, h Header) (*Writer, error) {
	if h.Session < 0 || h.Session > 1<<31-1 || len(h.Node) > maxName || len(h.Workload) > maxName {
		return nil, fmt.Errorf("create history %s: header out of range: %+v", path, h)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("create history: %w", err)
	}
	if _, err := f.Write(AppendFrame([]byte(magic), appendHeader(nil, h))); err != nil {
		_ = f.Close()
		_ = os.Remove(path)
		return nil, fmt.Errorf("create history: %w", err)
	}
	return &Writer{f: f, frames: NewFrameWriter(f)}, nil
}

// Invoke records that operation n is about to be sent. When it returns nil the
// record is the kernel's and outlives this process; on an error the operation must
// not be sent. n is 1 at first and rises by one. effects is not kept.
func (w *Writer) Invoke(n int64, at time.Time, effects []Effect) error {
	if w.err != nil {
		return w.err
	}
	if n != w.n+1 {
		return fmt.Errorf("history %s: invoke operation %d after %d", w.f.Name(), n, w.n)
	}
	if len(effects) > MaxEffects {
		return fmt.Errorf("history %s: operation %d has %d effects, more than %d", w.f.Name(), n, len(effects), MaxEffects)
	}
	b := append(w.payload, tagInvoke)
	b = binary.AppendUvarint(b, uint64(n))
	now := at.UnixNano()
	b = binary.AppendVarint(b, now-w.clock)
	b = binary.AppendUvarint(b, uint64(len(effects)))
	for i := range effects {
		if !effects[i].Kind.valid() {
			return fmt.Errorf("history %s: operation %d has an effect of kind %d", w.f.Name(), n, effects[i].Kind)
		}
		b = appendEffect(b, &effects[i])
	}
	w.payload, w.clock, w.n, w.open = b, now, n, true
	return w.Flush()
}

// Complete records what became of operation n, the last that was invoked. sqlstate
// is the server's, or "". The record is buffered until the next Invoke, Flush or Close.
func (w *Writer) Complete(n int64, at time.Time, outcome Outcome, sqlstate string) error {
	if w.err != nil {
		return w.err
	}
	if n != w.n || !w.open {
		return fmt.Errorf("history %s: complete operation %d, but %d is the last and open is %t", w.f.Name(), n, w.n, w.open)
	}
	if outcome > Fail || (sqlstate != "" && len(sqlstate) != stateLength) {
		return fmt.Errorf("history %s: operation %d: outcome %d with SQLSTATE %q", w.f.Name(), n, outcome, sqlstate)
	}
	tag := byte(tagComplete) | byte(outcome)<<4
	if sqlstate != "" {
		tag |= hasState
	}
	now := at.UnixNano()
	w.payload = append(w.payload, tag)
	w.payload = binary.AppendVarint(w.payload, now-w.clock)
	w.payload = append(w.payload, sqlstate...)
	w.clock, w.open = now, false
	return nil
}

// Flush writes a completion that is still buffered: to be called before the session
// idles. An error is final: bytes after a half-written record would be unreadable.
func (w *Writer) Flush() error {
	if w.err != nil || len(w.payload) == 0 {
		return w.err
	}
	if err := w.frames.Write(w.payload); err != nil {
		w.err = fmt.Errorf("write history: %w", err)
		return w.err
	}
	w.payload = w.payload[:0]
	return nil
}

// Close flushes and closes the file. It may be called again and then does nothing.
func (w *Writer) Close() error {
	if w.f == nil {
		return nil
	}
	err := w.Flush()
	if cerr := w.f.Close(); err == nil && cerr != nil {
		err = fmt.Errorf("close history: %w", cerr)
	}
	if w.err == nil {
		w.err = fmt.Errorf("history %s: %w", w.f.Name(), os.ErrClosed)
	}
	w.f = nil
	return err
}
