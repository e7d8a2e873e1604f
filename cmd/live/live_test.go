package live

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/spockchaos/spockchaos/chaos"
	"github.com/spockchaos/spockchaos/checker"
	"github.com/spockchaos/spockchaos/checker/rundir"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func status() chaos.Status {
	return chaos.Status{
		Elapsed: 95 * time.Second, Total: 30 * time.Minute, Round: 3, Kind: rundir.KindLoss, Phase: "chaos",
		Faults: []string{"partition n1<>n2", "lag n3>n1"}, WritesPerSecond: 4321.7, Operations: checker.Operations{OK: 81234, Fail: 3, Unknown: 1},
		Nodes: []chaos.NodeStatus{
			{Name: "n1", Up: true, LagBytes: 1_234_567, Position: 0x16B374D848, Retained: 16_777_216},
			{Name: "n2", Up: false, Position: 0x16B374D848, Retained: 512},
			{Name: "n3", Up: true},
		},
	}
}

func TestRender(t *testing.T) {
	want := []string{
		"[#.......................] 1:35 / 30:00  round 3 (loss)  chaos",
		"writes 4,321/s   this round: 81,234 ok, 3 fail, 1 unknown",
		"faults on: partition n1<>n2, lag n3>n1",
		"node               lag      slot position    WAL kept",
		"n1    up        1.2 MB        16/B374D848       17 MB",
		"n2    down           -        16/B374D848       512 B",
		"n3    up           0 B                  -           -",
	}
	if got := Render(status(), 100, 24); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestRenderCountsFaultsThatDoNotFit(t *testing.T) {
	st := status()
	st.Faults = []string{"partition n1<>n2", "lag n3>n1", "kill n2", "slow n1>n3"}
	if got := Render(st, 50, 24)[2]; got != "faults on: partition n1<>n2, lag n3>n1, 2 more" {
		t.Errorf("got %q", got)
	}
}

func TestRenderFits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		st := status()
		st.Phase = rapid.String().Draw(t, "phase")
		st.Faults = rapid.SliceOf(rapid.String()).Draw(t, "faults")
		st.Elapsed = time.Duration(rapid.Int64().Draw(t, "elapsed"))
		st.Total = time.Duration(rapid.Int64().Draw(t, "total"))
		st.Nodes[0].LagBytes = rapid.Int64().Draw(t, "lag")
		width, height := rapid.IntRange(20, 200).Draw(t, "width"), rapid.IntRange(1, 40).Draw(t, "height")
		lines := Render(st, width, height)
		if len(lines) > height {
			t.Fatalf("%d lines, height %d", len(lines), height)
		}
		for _, l := range lines {
			if n := utf8.RuneCountInString(l); n > width {
				t.Fatalf("%d characters, width %d: %q", n, width, l)
			}
			if strings.ContainsAny(l, "\n\r\x1b\x00") {
				t.Fatalf("%q", l)
			}
		}
	})
}

// terminal is as much of a terminal as Screen uses: text, newline, carriage return,
// cursor up and clear to the end. It does not scroll, so nothing is lost.
type terminal struct {
	lines    [][]rune
	row, col int
}

func (tm *terminal) Write(p []byte) (int, error) {
	s := []rune(string(p))
	for i := 0; i < len(s); i++ {
		for len(tm.lines) <= tm.row {
			tm.lines = append(tm.lines, nil)
		}
		switch s[i] {
		case '\n':
			tm.row, tm.col = tm.row+1, 0
		case '\r':
			tm.col = 0
		case 0x1b:
			var n int
			var c rune
			i += 2
			for ; s[i] >= '0' && s[i] <= '9'; i++ {
				n = n*10 + int(s[i]-'0')
			}
			switch c = s[i]; c {
			case 'A':
				tm.row = max(0, tm.row-max(n, 1))
			case 'J':
				tm.lines = append([][]rune{}, tm.lines[:tm.row+1]...)
				tm.lines[tm.row] = append([]rune{}, tm.lines[tm.row][:min(tm.col, len(tm.lines[tm.row]))]...)
			default:
				panic(fmt.Sprintf("escape %c", c))
			}
		default:
			for len(tm.lines[tm.row]) <= tm.col {
				tm.lines[tm.row] = append(tm.lines[tm.row], ' ')
			}
			tm.lines[tm.row][tm.col] = s[i]
			tm.col++
		}
	}
	return len(p), nil
}

func (tm *terminal) text() string {
	var b strings.Builder
	for _, l := range tm.lines {
		b.WriteString(strings.TrimRight(string(l), " ") + "\n")
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

func TestLogLinesPassAboveTheBlock(t *testing.T) {
	tm := &terminal{}
	s := NewScreen(tm, func() (int, int) { return 80, 24 })
	write := func(text string) {
		t.Helper()
		if n, err := s.Write([]byte(text)); n != len(text) || err != nil {
			t.Fatal(n, err)
		}
	}
	write("first\n")
	s.Show(status())
	write("second\nthird, ")
	st := status()
	st.Faults = nil
	st.Nodes = nil
	s.Show(st) // a smaller block leaves nothing of the larger one
	write("continued\n")
	block := strings.Join(Render(st, 79, 23), "\n")
	if want := "first\nsecond\nthird, continued\n" + block + "\n"; tm.text() != want {
		t.Errorf("got\n%s\nwant\n%s", tm.text(), want)
	}
	write("unfinished")
	s.Close()
	s.Close()
	s.Show(status())
	write("after\n")
	if want := "first\nsecond\nthird, continued\nunfinished\nafter\n"; tm.text() != want {
		t.Errorf("at the end\n%s\nwant\n%s", tm.text(), want)
	}
}

// A terminal that became narrower has wrapped the block: all of its rows are taken away.
func TestRowsOfAWrappedBlock(t *testing.T) {
	if n := rows([]string{"", strings.Repeat("x", 10), strings.Repeat("x", 11), strings.Repeat("x", 25)}, 10); n != 1+1+2+3 {
		t.Errorf("%d rows", n)
	}
}

func TestScreenFromManyGoroutines(t *testing.T) {
	var b bytes.Buffer
	s := NewScreen(&b, func() (int, int) { return 80, 24 })
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 50 {
				s.Show(status())
				fmt.Fprintf(s, "line %d\n", i)
			}
		})
	}
	wg.Wait()
	s.Close()
	if n := strings.Count(b.String(), "line "); n != 400 {
		t.Errorf("%d lines, want 400", n)
	}
}
