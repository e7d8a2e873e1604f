package cli

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/reports"
	"github.com/spockchaos/spockchaos/reports/format"
)

// How much of a report the terminal shows; the report has all of it.
const (
	shownReasons  = 5
	shownFindings = 8
)

// printVerdict prints the verdict of a report with its main figures.
func (a *App) printVerdict(dir string, rep *reports.Report) {
	var b strings.Builder
	fmt.Fprintf(&b, "\nverdict: %s   seed %d, %s, %s\n", strings.ToUpper(string(rep.Verdict)), rep.Seed,
		format.Plural(len(rep.Rounds), "round"), rep.EndedAt.Sub(rep.StartedAt).Round(time.Second))
	for i, r := range rep.Reasons {
		if i == shownReasons {
			fmt.Fprintf(&b, "  … and %d reasons more\n", len(rep.Reasons)-i)
			break
		}
		fmt.Fprintf(&b, "  %s\n", oneLine(r))
	}
	f := rep.Figures()
	fmt.Fprintf(&b, "  operations  %s ok, %s fail, %s unknown\n", format.Count(rep.Operations.OK), format.Count(rep.Operations.Fail), format.Count(rep.Operations.Unknown))
	fmt.Fprintf(&b, "  faults      %d of %d took effect\n", f.FaultsWithEffect, len(rep.Faults))
	fmt.Fprintf(&b, "  rescues     %d, which replayed %s transactions in %.1f s\n", len(rep.Rescues), format.Count(f.RescueTransactions), f.RescueSeconds)
	fmt.Fprintf(&b, "  RPO         %s died with the lost node", format.Plural(int(rep.RPO.Writes), "acknowledged write"))
	if rep.RPO.Writes > 0 {
		fmt.Fprintf(&b, ", the oldest %.1f s old", rep.RPO.OldestSeconds)
	}
	b.WriteString("\n")
	fmt.Fprintf(&b, "  findings    %d\n", len(rep.Findings))
	for i, x := range rep.Findings {
		if i == shownFindings {
			fmt.Fprintf(&b, "    … and %d more\n", len(rep.Findings)-i)
			break
		}
		times := ""
		if x.Count > 1 {
			times = fmt.Sprintf(" ×%s", format.Count(x.Count))
		}
		fmt.Fprintf(&b, "    %s%s  round %d  %s  %s: %s\n", x.Kind, times, x.Round, x.Node, oneLine(x.Key), oneLine(x.Summary))
	}
	fmt.Fprintf(&b, "  report      %s\n", filepath.Join(dir, rundir.ReportHTML))
	fmt.Fprintf(&b, "  again       %s\n", rep.Again.Replay)
	_, _ = fmt.Fprint(a.Stdout, b.String())
}

// oneLine keeps text from a run directory from moving the cursor or filling the screen.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return ' '
		}
		return r
	}, s)
	if r := []rune(s); len(r) > 200 {
		return string(r[:200]) + "…"
	}
	return s
}
