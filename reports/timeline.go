package reports

import (
	"fmt"
	"time"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/reports/format"
)

// maxRows bounds the rows of one timeline.
const maxRows = 80

// bands are the phases of a round behind every drawing of it.
func bands(phases []rundir.Phase, start time.Time, a axis) []band {
	var list []band
	for _, p := range phases {
		from := p.Start.Sub(start).Seconds()
		to := a.end
		if !p.End.IsZero() {
			to = p.End.Sub(start).Seconds()
		}
		x, width := a.x(from), a.x(to)-a.x(from)
		b := band{
			X: coord(x), Width: coord(max(width, 0.5)), Middle: coord(x + width/2), Name: p.Name, Class: "phase-" + phaseClass(p.Name),
			Text: fmt.Sprintf("%s, %.1f s to %.1f s", p.Name, from, to),
		}
		if width > float64(len(p.Name))*6.2+4 {
			b.Label = p.Name
		}
		list = append(list, b)
	}
	return list
}

// phaseClass is the style of a phase; names that are not known have one of their own.
func phaseClass(name string) string {
	switch name {
	case rundir.PhaseChaos, rundir.PhaseLoss, rundir.PhaseRescue, rundir.PhaseHeal:
		return name
	}
	return "quiet"
}

// drawTimeline draws when which fault was on and which rescue ran.
func drawTimeline(r *Round, phases []rundir.Phase, lostAt, start time.Time, a axis) *timeline {
	if start.IsZero() || a.end <= 0 {
		return nil
	}
	tl := &timeline{Bands: bands(phases, start, a), XTicks: a.ticks(), RowsTop: coord(phaseHeight)}
	y := phaseHeight
	add := func(name, class, text string, from, to *time.Time) {
		if from == nil || len(tl.Rows) >= maxRows {
			return
		}
		end := a.end
		if to != nil {
			end = to.Sub(start).Seconds()
		}
		x := a.x(from.Sub(start).Seconds())
		tl.Rows = append(tl.Rows, row{
			Y: coord(y + 3), TextY: coord(y + rowHeight - 5), Height: coord(rowHeight - 6), Name: name,
			X: coord(x), Width: coord(max(a.x(end)-x, 2)), Class: class, Text: text,
		})
		y += rowHeight
	}
	shown := 0
	for _, f := range r.Faults {
		class, note := "bar-on", f.Proof
		if !f.Effect {
			class, note = "bar-none", "no effect proven: "+f.Proof
		}
		if f.StartedAt != nil {
			shown++
		}
		add(cutText(f.Name+" "+f.Target, 28), class, cutText(f.Name+" "+f.Target+": "+note, 300), f.StartedAt, f.EndedAt)
	}
	for _, x := range r.Rescues {
		class := "bar-rescue"
		if !x.OK {
			class = "bar-bad"
		}
		var end *time.Time
		if x.StartedAt != nil {
			end = pointer(x.StartedAt.Add(time.Duration(x.Seconds * float64(time.Second))))
		}
		add(cutText("rescue "+x.Target+" ← "+x.Source, 28), class,
			fmt.Sprintf("rescue of %s from %s: %s transactions", x.Target, x.Source, format.Count(x.Transactions)), x.StartedAt, end)
	}
	if !lostAt.IsZero() {
		tl.Loss = coord(a.x(lostAt.Sub(start).Seconds()))
	}
	tl.AxisY = coord(y)
	tl.Height = coord(y + axisHeight)
	tl.Summary = fmt.Sprintf("Timeline of round %d: %s and %s", r.Number, format.Plural(shown, "fault"), format.Plural(len(r.Rescues), "rescue"))
	return tl
}

// cutText shortens text to n characters.
func cutText(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return string(r[:n-1]) + "…"
}
