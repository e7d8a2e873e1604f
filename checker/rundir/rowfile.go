package rundir

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spockchaos/spockchaos/workload/history"
)

// A row file is a sequence of history's frames. The first payload is rowMagic and the
// number of columns; then come frames of rows, each starting with 'r' and
// holding the difference of every value to the one above it (zigzag varint; a
// frame begins anew from zeros); the last starts with 'e' and holds the number of
// rows. A file without it was cut off and is not taken for a short table.
//
// The same rows always give the same bytes, so files can be compared as they are.
const (
	rowMagic     = "scrows1"
	rowFrameSize = 32 << 10
	maxColumns   = 16
)

// SortColumns is how many leading columns a table's rows are sorted by, 0 for an unknown table.
func SortColumns(table string) int {
	switch table {
	case TableLedger, TableBulk:
		return 2
	case TableEvent, TableVersion, TableVersionByKey:
		return 3
	case TableRegister, TableCounter, TableAccount, TableConflict:
		return 1
	}
	return 0
}

// RowWriter writes the row file of one table of one node's final snapshot.
type RowWriter struct {
	f     *os.File // a temporary file until Close
	w     *bufio.Writer
	out   *history.FrameWriter // on w
	path  string
	width int
	sort  int
	buf   []byte
	prev  []int64 // last row of this frame, zeros at its start
	last  []int64 // last row of the file
	rows  int64
	done  bool
}

// CreateRows begins the row file of table at path (FinalTable gives it) and makes
// missing directories. The file appears under its name when Close succeeds.
func CreateRows(path, table string) (*RowWriter, error) {
	width := Columns(table)
	if width == 0 {
		return nil, fmt.Errorf("writing %s: unknown table %q", path, table)
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("writing %s: %w", path, err)
	}
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".tmp*")
	if err != nil {
		return nil, fmt.Errorf("writing %s: %w", path, err)
	}
	b := bufio.NewWriterSize(f, 64<<10)
	w := &RowWriter{f: f, w: b, out: history.NewFrameWriter(b), path: path, width: width, sort: SortColumns(table),
		prev: make([]int64, width), last: make([]int64, width), buf: make([]byte, 0, rowFrameSize+maxColumns*binary.MaxVarintLen64)}
	if err := w.out.Write(binary.AppendUvarint([]byte(rowMagic), uint64(width))); err != nil {
		return nil, errors.Join(fmt.Errorf("writing %s: %w", path, err), w.Abort())
	}
	return w, nil
}

// Write appends one row. Rows must come sorted by the table's leading columns
// (rows.go); duplicates are allowed. The slice is not kept.
func (w *RowWriter) Write(row []int64) error {
	if len(row) != w.width {
		return fmt.Errorf("writing %s: row of %d columns, want %d", w.path, len(row), w.width)
	}
	if w.rows > 0 && compareRows(w.last[:w.sort], row[:w.sort]) > 0 {
		return fmt.Errorf("writing %s: row %v after %v: out of order", w.path, row, w.last)
	}
	if len(w.buf) == 0 {
		w.buf = append(w.buf, 'r')
		clear(w.prev)
	}
	for i, v := range row {
		w.buf = binary.AppendVarint(w.buf, v-w.prev[i]) // wraps around, and back when it is read
		w.prev[i] = v
	}
	copy(w.last, row)
	w.rows++
	if len(w.buf) >= rowFrameSize {
		return w.flush()
	}
	return nil
}

func (w *RowWriter) flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	err := w.out.Write(w.buf)
	w.buf = w.buf[:0]
	if err != nil {
		return fmt.Errorf("writing %s: %w", w.path, err)
	}
	return nil
}

// Close writes the end marker and gives the file its name. If it fails there is no file.
func (w *RowWriter) Close() error {
	if w.done {
		return nil
	}
	err := w.flush()
	if err == nil {
		err = w.out.Write(binary.AppendUvarint([]byte{'e'}, uint64(w.rows)))
	}
	if err == nil {
		err = w.w.Flush()
	}
	if err == nil {
		err = w.f.Chmod(0o644)
	}
	if err == nil {
		err = w.f.Close()
	}
	if err == nil {
		err = os.Rename(w.f.Name(), w.path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("writing %s: %w", w.path, err), w.Abort())
	}
	w.done = true
	return nil
}

// Abort gives the file up: nothing is left of it. After Close it does nothing.
func (w *RowWriter) Abort() error {
	if w.done {
		return nil
	}
	w.done = true
	_ = w.f.Close() // may be closed already; the file goes anyway
	if err := os.Remove(w.f.Name()); err != nil {
		return fmt.Errorf("giving up %s: %w", w.path, err)
	}
	return nil
}

// RowReader reads a row file.
type RowReader struct {
	in      *history.FrameReader
	close   func() error
	path    string
	width   int
	sort    int
	frame   []byte // what is left of the frame
	row     []int64
	prev    []int64
	rows    int64
	end     bool
	inFrame bool
}

// OpenRows opens the row file of table at path. A file that does not exist gives
// an error that errors.Is(err, fs.ErrNotExist) knows.
func OpenRows(path, table string) (*RowReader, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading: %w", err)
	}
	r, err := newRowReader(f, path, table)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	r.close = f.Close
	return r, nil
}

func newRowReader(in io.Reader, path, table string) (*RowReader, error) {
	r := &RowReader{in: history.NewFrameReader(in, path, 0), path: path, width: Columns(table), sort: SortColumns(table)}
	if r.width == 0 {
		return nil, fmt.Errorf("reading %s: unknown table %q", path, table)
	}
	r.row, r.prev = make([]int64, r.width), make([]int64, r.width)
	head, err := r.in.Next()
	if err != nil {
		return nil, r.broken(err)
	}
	if len(head) < len(rowMagic) || string(head[:len(rowMagic)]) != rowMagic {
		return nil, fmt.Errorf("reading %s: not a row file", path)
	}
	if n, k := binary.Uvarint(head[len(rowMagic):]); k != len(head)-len(rowMagic) || n != uint64(r.width) {
		return nil, fmt.Errorf("reading %s: it does not hold the %d columns of table %s", path, r.width, table)
	}
	return r, nil
}

// Next gives the next row, io.EOF after the last. The slice is valid until the
// next call. Every other error names the file: it is truncated, garbled, or its
// rows are out of order.
func (r *RowReader) Next() ([]int64, error) {
	for len(r.frame) == 0 {
		if err := r.nextFrame(); err != nil {
			return nil, err
		}
	}
	r.row, r.prev = r.prev, r.row
	if r.inFrame {
		for i := range r.row {
			d, k := binary.Varint(r.frame)
			if k <= 0 {
				return nil, fmt.Errorf("reading %s, row %d: garbled", r.path, r.rows+1)
			}
			r.frame = r.frame[k:]
			r.row[i] = r.prev[i] + d
		}
	} else {
		for i := range r.row {
			d, k := binary.Varint(r.frame)
			if k <= 0 {
				return nil, fmt.Errorf("reading %s, row %d: garbled", r.path, r.rows+1)
			}
			r.frame = r.frame[k:]
			r.row[i] = d
		}
		r.inFrame = true
	}
	if r.rows > 0 && compareRows(r.prev[:r.sort], r.row[:r.sort]) > 0 {
		return nil, fmt.Errorf("reading %s, row %d: out of order", r.path, r.rows+1)
	}
	r.rows++
	return r.row, nil
}

func (r *RowReader) nextFrame() error {
	if r.end {
		return io.EOF
	}
	b, err := r.in.Next()
	if err != nil {
		return r.broken(err)
	}
	switch {
	case len(b) > 1 && b[0] == 'r':
		r.frame, r.inFrame = b[1:], false
		return nil
	case len(b) > 1 && b[0] == 'e':
		if n, k := binary.Uvarint(b[1:]); k != len(b)-1 || n != uint64(r.rows) {
			return fmt.Errorf("reading %s: garbled: it ends after %d rows and should hold %d", r.path, r.rows, n)
		}
		if _, err := r.in.Next(); !errors.Is(err, io.EOF) || r.in.Truncated() {
			return fmt.Errorf("reading %s: garbled: something follows its end", r.path)
		}
		r.end = true
		return io.EOF
	}
	return fmt.Errorf("reading %s, after row %d: garbled", r.path, r.rows)
}

// broken is the error for a frame that is not there; history's own errors name the file.
func (r *RowReader) broken(err error) error {
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("reading %s: truncated after row %d", r.path, r.rows)
	}
	return fmt.Errorf("reading: %w", err)
}

// Rows is how many rows were read so far.
func (r *RowReader) Rows() int64 { return r.rows }

// Close closes the file.
func (r *RowReader) Close() error {
	if r.close == nil {
		return nil
	}
	if err := r.close(); err != nil {
		return fmt.Errorf("closing %s: %w", r.path, err)
	}
	return nil
}

// compareRows orders two rows of the same width.
func compareRows(a, b []int64) int {
	for i, x := range a {
		if y := b[i]; x != y {
			if x < y {
				return -1
			}
			return 1
		}
	}
	return 0
}
