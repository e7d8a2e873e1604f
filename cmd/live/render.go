package live

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spockchaos/spockchaos/chaos"
	"github.com/spockchaos/spockchaos/reports/format"
)

// barWidth is the width of the bar of elapsed time, in characters.
const barWidth = 24

// Render is the block for a status, without colours: every line at most width
// characters, at most height lines, nodes left out before anything else.
func Render(st chaos.Status, width, height int) []string {
	width, height = max(width, 20), max(height, 1)
	lines := []string{
		fmt.Sprintf("%s %s / %s  round %d%s  %s", bar(st.Elapsed, st.Total), format.Clock(st.Elapsed), format.Clock(st.Total),
			st.Round, kindOf(st), st.Phase),
		fmt.Sprintf("writes %s/s   this round: %s ok, %s fail, %s unknown", format.Count(int64(st.WritesPerSecond)),
			format.Count(st.Operations.OK), format.Count(st.Operations.Fail), format.Count(st.Operations.Unknown)),
	}
	lines = append(lines, faultLine(st.Faults, width))
	if len(st.Nodes) > 0 {
		nameWidth := 4
		for _, n := range st.Nodes {
			nameWidth = max(nameWidth, utf8.RuneCountInString(clean(n.Name)))
		}
		lines = append(lines, fmt.Sprintf("%-*s  %-4s  %10s  %17s  %10s", nameWidth, "node", "", "lag", "slot position", "WAL kept"))
		for _, n := range st.Nodes {
			state, lag, position, kept := "up", format.Bytes(n.LagBytes), n.Position.String(), format.Bytes(n.Retained)
			if !n.Up {
				state, lag = "down", "-"
			}
			if n.Position == 0 {
				position, kept = "-", "-"
			}
			lines = append(lines, fmt.Sprintf("%-*s  %-4s  %10s  %17s  %10s", nameWidth, clean(n.Name), state, lag, position, kept))
		}
	}
	lines = lines[:min(len(lines), height)]
	for i, l := range lines {
		lines[i] = cut(clean(l), width)
	}
	return lines
}

func kindOf(st chaos.Status) string {
	if st.Kind == "" {
		return ""
	}
	return " (" + string(st.Kind) + ")"
}

// faultLine names as many faults as fit, and says how many more there are.
func faultLine(faults []string, width int) string {
	if len(faults) == 0 {
		return "faults on: none"
	}
	line := fmt.Sprintf("faults on: %s", faults[0])
	for i, f := range faults[1:] {
		rest := fmt.Sprintf(", %d more", len(faults)-1-i)
		if utf8.RuneCountInString(line)+utf8.RuneCountInString(f)+2+len(rest) > width {
			return line + rest
		}
		line += ", " + f
	}
	return line
}

func bar(elapsed, total time.Duration) string {
	filled := 0
	if total > 0 {
		filled = int(float64(barWidth) * min(1, max(0, float64(elapsed)/float64(total))))
	}
	return "[" + strings.Repeat("#", filled) + strings.Repeat(".", barWidth-filled) + "]"
}

// clean takes out what would move the cursor.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}

func cut(s string, width int) string {
	r := []rune(s)
	if len(r) <= width {
		return s
	}
	return string(r[:width-1]) + "~"
}
