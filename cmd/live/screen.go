package live

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"unicode/utf8"

	"github.com/spockchaos/spockchaos/chaos"
)

// Screen keeps a block of lines at the bottom of a terminal. What is written to
// it passes above the block. It is safe for concurrent use.
type Screen struct {
	mu     sync.Mutex
	out    io.Writer
	size   func() (width, height int)
	status chaos.Status
	shown  []string // the block as it stands on the terminal
	rest   []byte   // the beginning of a log line whose end has not come
	begun  bool     // a status came
	closed bool
}

// maxRest is how much of an unfinished line is held back.
const maxRest = 64 << 10

// NewScreen draws on out, whose size it asks for before each drawing.
func NewScreen(out io.Writer, size func() (width, height int)) *Screen {
	return &Screen{out: out, size: size}
}

// Show draws a status in place of the one before.
func (s *Screen) Show(st chaos.Status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.status, s.begun = st, true
	_, _ = s.out.Write(s.frame(nil))
}

// Write prints whole lines above the block; an unfinished line waits for its end.
func (s *Screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return s.out.Write(p)
	}
	s.rest = append(s.rest, p...)
	end := bytes.LastIndexByte(s.rest, '\n') + 1
	if end == 0 {
		if len(s.rest) < maxRest {
			return len(p), nil
		}
		s.rest = append(s.rest, '\n')
		end = len(s.rest)
	}
	frame := s.frame(s.rest[:end])
	s.rest = append(s.rest[:0], s.rest[end:]...)
	if _, err := s.out.Write(frame); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Sync is there for zap.
func (s *Screen) Sync() error { return nil }

// Close takes the block away. What is written later passes straight through.
func (s *Screen) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.begun = false
	text := s.rest
	if len(text) > 0 {
		text = append(text, '\n')
	}
	_, _ = s.out.Write(s.frame(text))
	s.closed = true
}

// frame is what turns the terminal from the block shown to the lines of text above
// the block of the newest status. It is one write, so a terminal shows no half of it.
func (s *Screen) frame(text []byte) []byte {
	var b bytes.Buffer
	width, height := s.size()
	width, height = max(width, 20), max(height, 2)
	if n := rows(s.shown, width); n > 0 {
		fmt.Fprintf(&b, "\x1b[%dA\r", n)
	}
	s.shown = s.shown[:0]
	// \x1b[J clears from the cursor to the end of the terminal.
	b.WriteString("\x1b[J")
	b.Write(text)
	if s.begun {
		for _, line := range Render(s.status, width-1, height-1) {
			b.WriteString(line)
			b.WriteString("\n")
			s.shown = append(s.shown, line)
		}
	}
	return b.Bytes()
}

// rows is how many rows lines take on a terminal of this width: it may have become
// narrower since they were drawn, and then wrapped them.
func rows(lines []string, width int) int {
	n := 0
	for _, l := range lines {
		n += max(1, (utf8.RuneCountInString(l)+width-1)/width)
	}
	return n
}
