package reports

import (
	"fmt"
	"math"
	"strings"

	"github.com/spockchaos/spockchaos/reports/format"
)

// Geometry of every drawing, in SVG user units. All drawings of a round share the
// time axis, so that a reader can look straight down.
const (
	chartWidth  = 1000.0
	chartLeft   = 190.0
	chartRight  = 12.0
	plotHeight  = 110.0
	plotTop     = 8.0
	axisHeight  = 20.0
	rowHeight   = 17.0
	phaseHeight = 18.0
)

// axis maps seconds of a round to x.
type axis struct{ end float64 }

func (a axis) x(t float64) float64 {
	if a.end <= 0 {
		return chartLeft
	}
	return chartLeft + (chartWidth-chartLeft-chartRight)*min(1, max(0, t/a.end))
}

// tick is a mark on an axis.
type tick struct {
	At   string // x or y
	Text string
}

// ticks are marks at round numbers of seconds, about eight.
func (a axis) ticks() []tick {
	if a.end <= 0 || math.IsInf(a.end, 0) {
		return nil
	}
	step := niceStep(a.end / 8)
	var list []tick
	for t := 0.0; t <= a.end && len(list) < 20; t += step {
		list = append(list, tick{coord(a.x(t)), fmt.Sprintf("%g s", math.Round(t*1000)/1000)})
	}
	return list
}

// niceStep is the 1, 2 or 5 times a power of ten that is not below v.
func niceStep(v float64) float64 {
	if v <= 0 {
		return 1
	}
	p := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 5} {
		if m*p >= v {
			return m * p
		}
	}
	return 10 * p
}

// coord prints a coordinate with one decimal: more is below a pixel and only makes the page larger.
func coord(v float64) string {
	s := fmt.Sprintf("%.1f", v)
	return strings.TrimSuffix(s, ".0")
}

// lineChart is one chart of a round, ready for the template.
type lineChart struct {
	Title, Note string
	ID          string
	Height      string
	PlotBottom  string
	PlotHeight  string
	Lines       []line
	YTicks      []tick
	XTicks      []tick
	Marks       []mark
	Bands       []band
	Summary     string // for those who do not see it
}

type line struct {
	Class string
	Name  string
	Path  string
}

type mark struct{ X, Y, Text string }

// drawLines makes a chart of one series per node. It is nil where there is nothing to draw.
func drawLines(id, title, note string, a axis, names []string, pick func(name string) *series, falls func(name string) []fall) *lineChart {
	top, low := 0.0, 0.0
	points := 0
	for _, n := range names {
		for _, p := range pick(n).points {
			if !math.IsNaN(p.v) {
				top, low = max(top, p.v), min(low, p.v)
				points++
			}
		}
	}
	if points == 0 {
		return nil
	}
	step := niceStep(max(top-low, 1) / 4)
	low = math.Floor(low/step) * step
	high := max(math.Ceil(top/step)*step, low+step)
	y := func(v float64) float64 { return plotTop + plotHeight*(1-(v-low)/(high-low)) }
	c := &lineChart{
		Title: title, Note: note, ID: id, Height: coord(plotTop + plotHeight + axisHeight),
		PlotBottom: coord(plotTop + plotHeight), PlotHeight: coord(plotHeight), XTicks: a.ticks(),
	}
	for i := range 12 {
		v := low + float64(i)*step
		if v > high+step/2 {
			break
		}
		c.YTicks = append(c.YTicks, tick{coord(y(v)), format.Bytes(int64(v))})
	}
	var spoken []string
	for i, n := range names {
		s := pick(n)
		c.Lines = append(c.Lines, line{Class: nodeClass(i), Name: n, Path: path(s.points, a, y)})
		most := 0.0
		for _, p := range s.points {
			if !math.IsNaN(p.v) {
				most = max(most, p.v)
			}
		}
		spoken = append(spoken, fmt.Sprintf("%s at most %s", n, format.Bytes(int64(most))))
		if falls != nil {
			for _, f := range falls(n) {
				c.Marks = append(c.Marks, mark{coord(a.x(f.t)), coord(y(max(low, min(high, f.v)))), f.text})
			}
		}
	}
	c.Summary = title + ": " + strings.Join(spoken, ", ")
	return c
}

// path is an SVG path through points, lifted at gaps.
func path(points []point, a axis, y func(float64) float64) string {
	var b strings.Builder
	down := false
	for i, p := range points {
		if math.IsNaN(p.v) {
			down = false
			continue
		}
		if down {
			fmt.Fprintf(&b, "L%s %s", coord(a.x(p.t)), coord(y(p.v)))
			continue
		}
		fmt.Fprintf(&b, "M%s %s", coord(a.x(p.t)), coord(y(p.v)))
		if i+1 == len(points) || math.IsNaN(points[i+1].v) {
			b.WriteString("h.1") // a lone point: round caps make it a dot
		}
		down = true
	}
	return b.String()
}

// nodeClass is the style of the i-th node: colour and dashes.
func nodeClass(i int) string { return fmt.Sprintf("s%d", i%9+1) }

// band is a stretch of time behind a drawing.
type band struct {
	X, Width, Middle string
	Name             string
	Class            string
	Text             string // for a tooltip
	Label            string // "" where it would not fit
}

// timeline is the phases, faults and rescues of a round.
type timeline struct {
	Height  string
	RowsTop string
	Bands   []band
	Rows    []row
	XTicks  []tick
	AxisY   string
	Loss    string // x of the loss, "" for none
	Summary string
}

type row struct {
	Y, TextY, Height string
	Name             string
	X, Width         string
	Class            string
	Text             string
}
