package reports

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spockchaos/spockchaos/checker"
	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/reports/format"
)

//go:embed report.html.tmpl
var pageText string

// What the page shows at most; report.json has all of it.
const (
	maxPoints      = 300     // per series
	pointBudget    = 150_000 // of the whole page
	minPoints      = 20
	maxDetailed    = 120 // rounds with charts and tables
	maxInterim     = 10  // the same, while a run goes on
	maxFindings    = 200
	maxRescues     = 400
	maxRoundFaults = 200
	maxEvidence    = 6000 // characters
	maxText        = 1500
)

// page is what the template sees.
type page struct {
	*Report
	Title       string
	Figures     Figures
	Took        string
	Headline    string
	ShownFinds  []Finding
	MoreFinds   int
	ShownRescue []Rescue
	MoreRescues int
	SlotRows    []slotRow
	WorkRows    []workRow
	ConfigRows  []configRow
	Details     []roundPage
	Undetailed  int
	KindCounts  []kindCount
}

type slotRow struct {
	Node string
	Slot
}

type workRow struct {
	Name string
	Operations
}

type configRow struct{ Name, Value string }

type kindCount struct {
	Kind  checker.Kind
	Count int
	Text  string
}

// roundPage is a round with its drawings.
type roundPage struct {
	Round
	Open       bool
	Timeline   *timeline
	Charts     []*lineChart
	MoreFaults int
	TimingRows []timingRow
	Note       string
}

type timingRow struct {
	Name    string
	Seconds float64
}

// WriteHTML writes a report as one page that needs nothing from elsewhere. The
// drawings come from the samples in dir.
func WriteHTML(w io.Writer, dir string, rep *Report) error {
	return writeHTML(w, dir, rep, maxDetailed)
}

func writeHTML(w io.Writer, dir string, rep *Report, details int) error {
	t, err := template.New("report").Funcs(functions()).Parse(pageText)
	if err != nil {
		return fmt.Errorf("report page: %w", err)
	}
	if err := t.Execute(w, newPage(dir, rep, details)); err != nil {
		return fmt.Errorf("writing the report page: %w", err)
	}
	return nil
}

func newPage(dir string, rep *Report, details int) *page {
	p := &page{
		Report: rep, Figures: rep.Figures(), Took: format.Clock(rep.EndedAt.Sub(rep.StartedAt)),
		Title: fmt.Sprintf("spockchaos: %s, seed %d", rep.Verdict, rep.Seed),
	}
	p.Headline = headline(rep)
	p.ShownFinds, p.MoreFinds = first(rep.Findings, maxFindings)
	p.ShownRescue, p.MoreRescues = first(rep.Rescues, maxRescues)
	for _, n := range slices.Sorted(maps.Keys(rep.Slots)) {
		p.SlotRows = append(p.SlotRows, slotRow{n, rep.Slots[n]})
	}
	for _, n := range slices.Sorted(maps.Keys(rep.Operations.ByWorkload)) {
		p.WorkRows = append(p.WorkRows, workRow{n, rep.Operations.ByWorkload[n]})
	}
	for _, n := range slices.Sorted(maps.Keys(rep.Config)) {
		p.ConfigRows = append(p.ConfigRows, configRow{n, cutText(flagText(rep.Config[n]), maxText)})
	}
	p.KindCounts = countKinds(rep.Findings)
	chosen := detailed(rep.Rounds, details)
	p.Undetailed = len(rep.Rounds) - len(chosen)
	limit := maxPoints
	if n := len(chosen) * max(len(rep.Nodes), 1) * 3; n > 0 {
		limit = max(minPoints, min(maxPoints, pointBudget/n))
	}
	opened := false
	for _, i := range chosen {
		rp := newRoundPage(dir, rep.Rounds[i], limit/2)
		if !opened && (len(rp.Findings) > 0 || len(rep.Findings) == 0) {
			rp.Open, opened = true, true
		}
		p.Details = append(p.Details, rp)
	}
	return p
}

func headline(rep *Report) string {
	switch {
	case !rep.Checked:
		return "The run was recorded but not judged yet."
	case rep.Verdict == checker.Pass:
		return "Every write that a survivor had is on every survivor, exactly once."
	case rep.Verdict == checker.FailVerdict:
		return fmt.Sprintf("%s in %s.", format.Plural(len(rep.Findings), "finding"), format.Plural(roundsWithFindings(rep), "round"))
	}
	return "The evidence does not suffice for a verdict."
}

func roundsWithFindings(rep *Report) int {
	seen := map[int]bool{}
	for _, f := range rep.Findings {
		seen[f.Round] = true
	}
	return len(seen)
}

// detailed picks at most n rounds that are shown in full: those with findings before
// others, and new before old.
func detailed(rounds []Round, n int) []int {
	order := make([]int, len(rounds))
	for i := range order {
		order[i] = len(rounds) - 1 - i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return min(1, len(rounds[b].Findings)) - min(1, len(rounds[a].Findings))
	})
	order = order[:min(len(order), n)]
	slices.Sort(order)
	return order
}

func newRoundPage(dir string, r Round, limit int) roundPage {
	rp := roundPage{Round: r}
	rp.Faults, rp.MoreFaults = first(r.Faults, maxRoundFaults)
	var round rundir.Round
	if err := rundir.ReadJSON(filepath.Join(rundir.RoundDir(dir, r.Number), rundir.RoundFile), &round); err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			rp.Note = err.Error()
		}
		return rp
	}
	known := map[string]bool{}
	for _, ph := range round.Phases {
		if s, ok := r.Timings[ph.Name]; ok && !known[ph.Name] {
			known[ph.Name] = true
			rp.TimingRows = append(rp.TimingRows, timingRow{ph.Name, s})
		}
	}
	if len(round.Phases) == 0 {
		return rp
	}
	start := round.Phases[0].Start
	rs, err := readSeries(dir, r.Number, start, limit)
	if err != nil {
		rp.Note = "the charts show what could be read: " + err.Error()
	}
	a := axis{end: roundEnd(round, start, rs.end)}
	rp.Timeline = drawTimeline(&r, round.Phases, round.LostAt, start, a)
	rp.Charts = drawCharts(r.Number, rs, a)
	background := bands(round.Phases, start, a)
	for _, c := range rp.Charts {
		c.Bands = background
	}
	return rp
}

// roundEnd is where the time axis of a round ends, in seconds. It is bounded: one garbled time must not flatten all else.
func roundEnd(round rundir.Round, start time.Time, samples float64) float64 {
	end := 0.0
	for _, p := range round.Phases {
		end = max(end, p.Start.Sub(start).Seconds())
		if !p.End.IsZero() {
			end = max(end, p.End.Sub(start).Seconds())
		}
	}
	if last := round.Phases[len(round.Phases)-1]; last.End.IsZero() {
		end = max(end, samples)
	}
	return min(end, 24*3600)
}

func drawCharts(number int, rs *roundSeries, a axis) []*lineChart {
	names := rs.names()
	var list []*lineChart
	for _, c := range []*lineChart{
		drawLines(fmt.Sprintf("r%d-lag", number), "Lag", "WAL of the peer that a node is furthest behind, not applied yet",
			a, names, func(n string) *series { return rs.nodes[n].lag }, nil),
		drawLines(fmt.Sprintf("r%d-position", number), "Recovery slot position", "how far confirmed_flush_lsn has come since the round began; a ring marks where a position was lower than before",
			a, names, func(n string) *series { return rs.nodes[n].position }, func(n string) []fall { return rs.nodes[n].falls }),
		drawLines(fmt.Sprintf("r%d-retained", number), "WAL kept by the recovery slot", "flush position minus restart_lsn",
			a, names, func(n string) *series { return rs.nodes[n].retained }, nil),
	} {
		if c != nil {
			list = append(list, c)
		}
	}
	return list
}

func countKinds(findings []Finding) []kindCount {
	counts := map[checker.Kind]int{}
	for _, f := range findings {
		counts[f.Kind]++
	}
	var list []kindCount
	for _, k := range slices.Sorted(maps.Keys(counts)) {
		list = append(list, kindCount{k, counts[k], kindText(k)})
	}
	return list
}

func first[T any](s []T, n int) (shown []T, more int) {
	if len(s) <= n {
		return s, 0
	}
	return s[:n], len(s) - n
}

func functions() template.FuncMap {
	return template.FuncMap{
		"count": func(v any) string {
			switch v := v.(type) {
			case int:
				return format.Count(int64(v))
			case int64:
				return format.Count(v)
			}
			return fmt.Sprint(v)
		},
		"plural": format.Plural,
		"bytes":  format.Bytes,
		"secs":   func(s float64) string { return fmt.Sprintf("%.1f s", s) },
		"cut":    func(s string) string { return cutText(s, maxText) },
		"upper":  func(v checker.Verdict) string { return strings.ToUpper(string(v)) },
		"stamp":  func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
		"clock": func(t *time.Time) string {
			if t == nil {
				return "–"
			}
			return t.UTC().Format("15:04:05.000")
		},
		"params":   params,
		"evidence": evidence,
		"kindText": kindText,
		"join":     func(s []string) string { return strings.Join(s, ", ") },
		"total":    func(o Operations) int64 { return o.OK + o.Fail + o.Unknown },
		"lines":    func(s []string) string { return cutText(strings.Join(s, "\n"), maxEvidence) },
		"node":     nodeClass,
		"roundTime": func(r Round) float64 {
			var s float64
			for _, v := range r.Timings {
				s += v
			}
			return s
		},
	}
}

func params(m map[string]any) string {
	var words []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		words = append(words, k+"="+flagText(m[k]))
	}
	return cutText(strings.Join(words, " "), maxText)
}

func evidence(m map[string]any) string {
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Sprint(m)
	}
	return cutText(string(b), maxEvidence)
}
