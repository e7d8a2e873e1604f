package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spockchaos/spockchaos/chaos/rescue"
)

// view prints a rescue: as text while it goes on, or as one JSON object at its end.
type view struct {
	out     io.Writer
	verbose bool
	asJSON  bool
}

func (v view) print(format string, args ...any) error {
	if v.asJSON {
		return nil
	}
	if _, err := fmt.Fprintf(v.out, format, args...); err != nil {
		return fmt.Errorf("writing to standard output: %w", err)
	}
	return nil
}

// plan prints what was seen and what would be done.
func (v view) plan(p rescue.Plan) error {
	var b strings.Builder
	fmt.Fprintf(&b, "what the survivors have of %s (%s):\n", p.Failed, p.Engine)
	for _, s := range p.Survivors {
		b.WriteString("  " + survivorLine(p, s) + "\n")
	}
	if len(p.Targets)+len(p.Remove) > 0 {
		b.WriteString("what is to be done:\n")
	}
	n := 0
	for _, t := range p.Targets {
		n++
		fmt.Fprintf(&b, "  %d. rescue %s from %s, by a CALL on %s: %s\n", n, t.Node, t.Source, t.Coordinator, missing(t.Missing))
		for _, k := range t.Checks {
			if v.verbose || k.Status == "warning" {
				fmt.Fprintf(&b, "     %s %s: %s\n", map[string]string{"ok": "·", "warning": "!", "error": "✗"}[k.Status], k.Name, oneLine(k.Detail))
			}
		}
	}
	if len(p.Remove) > 0 {
		fmt.Fprintf(&b, "  %d. remove %s from %s\n", n+1, p.Failed, strings.Join(p.Remove, ", "))
	}
	for _, text := range p.Notes {
		fmt.Fprintf(&b, "  ! %s\n", flat(text))
	}
	for _, text := range p.Problems {
		fmt.Fprintf(&b, "  ✗ %s\n", flat(text))
	}
	for _, text := range p.Alive {
		fmt.Fprintf(&b, "  ✗ %s may still live: %s\n", p.Failed, flat(text))
	}
	return v.print("%s", b.String())
}

func survivorLine(p rescue.Plan, s rescue.Survivor) string {
	var parts []string
	switch {
	case s.Subscribes:
		parts = append(parts, fmt.Sprintf("up to %s", s.Progress))
	case s.Rescued != "":
		parts = append(parts, "no subscription to it any more, rescued ("+s.Rescued+")")
	default:
		parts = append(parts, "no subscription to it")
	}
	switch s.SlotStatus {
	case "":
		parts = append(parts, "no recovery slot")
	default:
		parts = append(parts, fmt.Sprintf("recovery slot at %s of its own WAL, %s, %d bytes kept", s.Position, s.SlotStatus, s.RetainedBytes))
	}
	if s.HeldBy != "" {
		parts = append(parts, "held by "+brief(s.HeldBy))
	}
	if s.Unfinished {
		parts = append(parts, "its rescue was interrupted")
	}
	line := s.Node + "  " + strings.Join(parts, "; ")
	if s.Node == p.Source {
		line += "  (source)"
	}
	return line
}

// flat is a text of ours on one line, however long.
func flat(s string) string { return strings.Join(strings.Fields(s), " ") }

// brief is the beginning of what may be long.
func brief(s string) string {
	const most = 60
	s, _, _ = strings.Cut(s, "\n")
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}

func missing(m *rescue.Missing) string {
	switch {
	case m == nil:
		return "what it lacks could not be counted"
	case m.Transactions == 0:
		return "it lacks no transaction that changed anything"
	}
	const clock = "2006-01-02 15:04:05"
	return fmt.Sprintf("%d transactions with %d row changes, committed from %s to %s UTC", m.Transactions, m.Changes, m.FirstAt.UTC().Format(clock), m.LastAt.UTC().Format(clock))
}

// report prints what happens. A line that cannot be written does not end a rescue.
func (v view) report() rescue.Report {
	return rescue.Report{
		Step: func(text string) { _ = v.print("· %s\n", text) },
		Notice: func(severity, text string) {
			if severity == "WARNING" {
				_ = v.print("  ! %s\n", oneLine(text))
			} else if v.verbose {
				_ = v.print("    %s\n", oneLine(text))
			}
		},
		Call: func(o rescue.Outcome) {
			switch {
			case o.Error != "":
				_ = v.print("✗ %s from %s %s  %s\n", o.Node, o.Source, seconds(o.Seconds), oneLine(o.Error))
			default:
				_ = v.print("%s %s from %s %s  %d transactions with %d rows replayed, %d newer rows kept\n", signOf(o.Level), o.Node, o.Source, seconds(o.Seconds),
					o.Transactions, o.Rows, o.Kept)
			}
		},
	}
}

func seconds(s float64) string {
	return fmt.Sprintf("%.1f s", (time.Duration(s * float64(time.Second))).Seconds())
}

// result prints how it ended.
func (v view) result(p rescue.Plan, res rescue.Result) error {
	for _, text := range res.Notes {
		if err := v.print("! %s\n", flat(text)); err != nil {
			return err
		}
	}
	for _, text := range res.Wrong {
		if err := v.print("✗ %s\n", flat(text)); err != nil {
			return err
		}
	}
	if !res.OK {
		return v.end("failed", p, &res, "not rescued: calling it again goes on where it was")
	}
	says := fmt.Sprintf("rescued in %s", seconds(res.Seconds))
	if len(res.Calls) == 0 {
		says = fmt.Sprintf("done in %s", seconds(res.Seconds))
	}
	if len(res.Removed) > 0 {
		says += fmt.Sprintf("; %s is gone from %s", p.Failed, strings.Join(res.Removed, ", "))
	}
	return v.end("rescued", p, &res, says)
}

// end prints the last line, or the JSON object.
func (v view) end(status string, p rescue.Plan, res *rescue.Result, says string) error {
	if !v.asJSON {
		if says == "" {
			return nil
		}
		return v.print("%s\n", says)
	}
	e := json.NewEncoder(v.out)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(recoverDoc{status, p, res}); err != nil {
		return fmt.Errorf("writing to standard output: %w", err)
	}
	return nil
}
