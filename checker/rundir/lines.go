package rundir

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"unicode/utf8"
)

// Lines appends records to a file of JSON lines. Its methods are safe for
// concurrent use. Each record is one write(2), so a program killed at any moment
// leaves whole lines and at most one torn line at the end.
type Lines struct {
	mu   sync.Mutex
	f    *os.File
	path string
	torn bool // the last write failed in the middle: cut its line off before the next
}

// OpenLines opens path for appending and makes it, and its directory, if there is
// none. What a killed program left of a last line is cut off.
func OpenLines(path string) (*Lines, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("opening: %w", err)
	}
	if err := dropTornLine(f); err != nil {
		return nil, errors.Join(fmt.Errorf("opening %s: %w", path, err), f.Close())
	}
	return &Lines{f: f, path: path}, nil
}

// dropTornLine cuts f after its last newline, so that appending to the file of a
// killed run does not turn a torn last line into garbage in the middle.
func dropTornLine(f *os.File) error {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	end := size
	var b [1]byte
	for end > 0 {
		if _, err := f.ReadAt(b[:], end-1); err != nil {
			return err
		}
		if b[0] == '\n' {
			break
		}
		end--
	}
	if end == size {
		return nil
	}
	return f.Truncate(end)
}

// Append writes one record.
func (l *Lines) Append(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("appending to %s: %w", l.path, err)
	}
	b = append(b, '\n')
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.torn {
		// A short write (disk full) must not become garbage in the middle of the file.
		if err := dropTornLine(l.f); err != nil {
			return fmt.Errorf("appending to %s: %w", l.path, err)
		}
		l.torn = false
	}
	n, err := l.f.Write(b)
	if err != nil {
		l.torn = n > 0
		return fmt.Errorf("appending to %s: %w", l.path, err)
	}
	return nil
}

// Close closes the file. Append fails afterwards.
func (l *Lines) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.f.Close(); err != nil {
		return fmt.Errorf("closing %s: %w", l.path, err)
	}
	return nil
}

// EachLine calls f with each record of the file of JSON lines at path, in order,
// and stops at the first error of f. A file that does not exist has no records: a
// run that ended early never made it. A last line without its newline is one that
// a killed program was writing: it is left out. Anything else that cannot be read is
// an error that names the file and the line.
func EachLine[T any](path string, f func(T) error) error {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading: %w", err)
	}
	defer file.Close() // read only: nothing to lose
	return eachLine(path, file, f)
}

func eachLine[T any](path string, in io.Reader, f func(T) error) error {
	r := bufio.NewReaderSize(in, 64<<10)
	var long []byte
	for line := 1; ; line++ {
		b, err := r.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			long = append(long[:0], b...)
			for errors.Is(err, bufio.ErrBufferFull) {
				b, err = r.ReadSlice('\n')
				long = append(long, b...)
			}
			b = long
		}
		if errors.Is(err, io.EOF) {
			return nil // nothing, or a torn line
		}
		if err != nil {
			return fmt.Errorf("reading %s, line %d: %w", path, line, err)
		}
		if b = bytes.TrimSpace(b); len(b) == 0 {
			return fmt.Errorf("reading %s, line %d: empty line", path, line)
		}
		if !utf8.Valid(b) {
			// encoding/json writes none, and would read it as something else in silence.
			return fmt.Errorf("reading %s, line %d: not UTF-8", path, line)
		}
		var v T
		if err := json.Unmarshal(b, &v); err != nil {
			return fmt.Errorf("reading %s, line %d: %w", path, line, err)
		}
		if err := f(v); err != nil {
			return err
		}
	}
}
