package reports_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/spockchaos/spockchaos/checker"
	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/reports"
	"github.com/spockchaos/spockchaos/reports/reportstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func made(t *testing.T, spec reportstest.Spec) (dir string, res *checker.Result) {
	t.Helper()
	// SPOCKCHAOS_TEST_REPORTS keeps what is made, to look at it.
	dir = t.TempDir()
	if keep := os.Getenv("SPOCKCHAOS_TEST_REPORTS"); keep != "" {
		dir = filepath.Join(keep, strings.ReplaceAll(t.Name(), "/", "-"))
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	res, err := reportstest.Write(dir, spec)
	if err != nil {
		t.Fatal(err)
	}
	return dir, res
}

func saved(t *testing.T, dir string, res *checker.Result) (jsonText, html string) {
	t.Helper()
	if err := reports.Write(dir, res); err != nil {
		t.Fatal(err)
	}
	j, err := os.ReadFile(filepath.Join(dir, rundir.ReportJSON))
	if err != nil {
		t.Fatal(err)
	}
	h, err := os.ReadFile(filepath.Join(dir, rundir.ReportHTML))
	if err != nil {
		t.Fatal(err)
	}
	return string(j), string(h)
}

// schema is the names that other tools rely on, by path; * is any member, [] any element.
var schema = []string{
	"schema_version", "verdict", "reasons", "seed", "config", "versions.postgres", "versions.engine", "versions.spockchaos",
	"started_at", "ended_at",
	"rounds[].number", "rounds[].kind", "rounds[].verdict", "rounds[].timings", "rounds[].faults", "rounds[].rescues", "rounds[].findings",
	"operations.ok", "operations.fail", "operations.unknown", "operations.by_workload", "rpo.writes", "rpo.oldest_seconds",
	"faults[].name", "faults[].target", "faults[].parameters", "faults[].planned_at", "faults[].started_at", "faults[].ended_at", "faults[].effect", "faults[].proof",
	"rescues[].failed", "rescues[].source", "rescues[].target", "rescues[].transactions", "rescues[].rows", "rescues[].seconds", "rescues[].resumed_times",
	"engine_settings.*",
	"slots.*.samples", "slots.*.advances", "slots.*.fell_back", "slots.*.max_retained_bytes",
	"findings[].kind", "findings[].round", "findings[].node", "findings[].key", "findings[].summary", "findings[].evidence", "findings[].faults_active",
}

func TestJSONHasTheWholeSchema(t *testing.T) {
	dir, res := made(t, reportstest.Spec{Seed: 42, Rounds: 3, Nodes: 3, Samples: 50, Findings: true})
	text, _ := saved(t, dir, res)
	var rep map[string]any
	if err := json.Unmarshal([]byte(text), &rep); err != nil {
		t.Fatal(err)
	}
	for _, path := range schema {
		found := 0
		lookup(rep, strings.Split(strings.ReplaceAll(path, "[]", ".[]"), "."), func(any) { found++ }, func(at string) { t.Errorf("%s: no %s", path, at) })
		if found == 0 {
			t.Errorf("%s was found nowhere", path)
		}
	}
	if rep["verdict"] != "fail" || rep["seed"] != 42.0 {
		t.Errorf("verdict %v, seed %v", rep["verdict"], rep["seed"])
	}
	if n := len(rep["findings"].([]any)); n != 2 {
		t.Errorf("%d findings, want 2", n)
	}
	if n := len(rep["faults"].([]any)); n != 18 {
		t.Errorf("%d faults, want 18", n)
	}
}

func lookup(v any, path []string, found func(any), missing func(string)) {
	if len(path) == 0 {
		found(v)
		return
	}
	switch v := v.(type) {
	case []any:
		for _, x := range v {
			lookup(x, path[1:], found, missing)
		}
	case map[string]any:
		if path[0] == "*" {
			for _, x := range v {
				lookup(x, path[1:], found, missing)
			}
			return
		}
		x, ok := v[path[0]]
		if !ok {
			missing(path[0])
			return
		}
		lookup(x, path[1:], found, missing)
	default:
		missing(path[0])
	}
}

// nullable are the members that may be null: times that are not known.
var nullable = map[string]bool{"planned_at": true, "started_at": true, "ended_at": true}

func TestJSONHasNoNullLists(t *testing.T) {
	empty := t.TempDir()
	if err := rundir.WriteJSON(filepath.Join(empty, rundir.RunFile), rundir.Run{SchemaVersion: 1, Nodes: []string{"n1"}, Rounds: 1}); err != nil {
		t.Fatal(err)
	}
	full, res := made(t, reportstest.Spec{Seed: 1, Rounds: 2, Nodes: 2, Samples: 5, Findings: true})
	for _, c := range []struct {
		name, dir string
		res       *checker.Result
	}{{"empty, not checked", empty, nil}, {"empty result", empty, &checker.Result{Rounds: []checker.RoundResult{{Number: 1}, {Number: 2}}}}, {"full", full, res}} {
		t.Run(c.name, func(t *testing.T) {
			text, _ := saved(t, c.dir, c.res)
			var rep any
			if err := json.Unmarshal([]byte(text), &rep); err != nil {
				t.Fatal(err)
			}
			noNull(t, "", rep)
		})
	}
}

func noNull(t *testing.T, path string, v any) {
	switch v := v.(type) {
	case nil:
		if !nullable[path[strings.LastIndex(path, ".")+1:]] {
			t.Errorf("%s is null", path)
		}
	case map[string]any:
		for k, x := range v {
			noNull(t, path+"."+k, x)
		}
	case []any:
		for i, x := range v {
			noNull(t, fmt.Sprintf("%s[%d]", path, i), x)
		}
	}
}

func TestBeforeTheCheck(t *testing.T) {
	dir, _ := made(t, reportstest.Spec{Seed: 1, Rounds: 2, Nodes: 3, Samples: 20})
	rep, err := reports.Build(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if rep.Verdict != checker.Inconclusive || len(rep.Reasons) != 1 || rep.Reasons[0] != "not checked yet" || rep.Checked {
		t.Errorf("verdict %s, reasons %q", rep.Verdict, rep.Reasons)
	}
	_, html := saved(t, dir, nil)
	if !strings.Contains(html, "not checked yet") {
		t.Error("the page does not say that the run was not checked")
	}
}

func TestPageNeedsNothingFromElsewhere(t *testing.T) {
	dir, res := made(t, reportstest.Spec{Seed: 42, Rounds: 3, Nodes: 3, Samples: 400, Findings: true})
	_, html := saved(t, dir, res)
	for _, bad := range []string{"http:", "https:", "<script", "<link", "<img", "<iframe", "@import", "url(", "src="} {
		if strings.Contains(strings.ToLower(html), bad) {
			t.Errorf("the page contains %q", bad)
		}
	}
	// Every link inside the page leads somewhere.
	for _, m := range regexp.MustCompile(`href="#([^"]*)"`).FindAllStringSubmatch(html, -1) {
		if !strings.Contains(html, `id="`+m[1]+`"`) {
			t.Errorf("no target for #%s", m[1])
		}
	}
	for _, want := range []string{"FAIL", "spockchaos replay ", "spockchaos run --seed 42", "What this verdict does not prove", "session 3 n 217", "<path class=\"plot s3\" d=\"M", "class=\"ring\"", "bar-none", "pglogical.conflict_resolution = last_update_wins"} {
		if !strings.Contains(html, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if at, finding := strings.Index(html, "FAIL"), strings.Index(html, "session 3 n 217"); at > finding {
		t.Error("the verdict does not come first")
	}
}

func TestHostileTextIsEscaped(t *testing.T) {
	hostile := `</title></svg></style><script>alert("x")</script>'"&<img src=x onerror=1>` + "\x00\x1b[2J\u2028"
	dir, res := made(t, reportstest.Spec{Seed: 1, Rounds: 2, Nodes: 3, Samples: 20, Findings: true, Text: hostile})
	res.Reasons = []string{hostile}
	_, html := saved(t, dir, res)
	for _, bad := range []string{"<script", "<img", "onerror=1>", "</svg></style>", `alert("x")`} {
		if strings.Contains(html, bad) {
			at := strings.Index(html, bad)
			t.Errorf("the page contains %q: …%s…", bad, html[max(0, at-80):min(len(html), at+40)])
		}
	}
	if !strings.Contains(html, "&lt;script&gt;") {
		t.Error("the hostile text is nowhere")
	}
}

func TestSixtyRoundsStaySmall(t *testing.T) {
	// 90 samples are all that the charts of 60 rounds with 9 nodes have room for.
	dir, res := made(t, reportstest.Spec{Seed: 7, Rounds: 60, Nodes: 9, Samples: 90, Findings: true})
	_, html := saved(t, dir, res)
	if len(html) > 5_000_000 {
		t.Errorf("the page has %d bytes", len(html))
	}
	if n := strings.Count(html, `<details class="round"`); n != 60 {
		t.Errorf("%d rounds in detail, want 60", n)
	}
}

// A run that was killed in its second round had not counted it yet.
func TestRoundsOfAKilledRun(t *testing.T) {
	dir, _ := made(t, reportstest.Spec{Seed: 7, Rounds: 2, Nodes: 3, Samples: 5})
	var run rundir.Run
	path := filepath.Join(dir, rundir.RunFile)
	if err := rundir.ReadJSON(path, &run); err != nil {
		t.Fatal(err)
	}
	run.Rounds = 1
	if err := rundir.WriteJSON(path, run); err != nil {
		t.Fatal(err)
	}
	rep, err := reports.Build(dir, nil)
	if err != nil || len(rep.Rounds) != 2 || len(rep.Rounds[1].Faults) == 0 {
		t.Errorf("%v, %d rounds", err, len(rep.Rounds))
	}
}

func TestNotesAreShown(t *testing.T) {
	dir, _ := made(t, reportstest.Spec{Seed: 7, Rounds: 1, Nodes: 3, Samples: 20})
	rep, err := reports.Build(dir, &checker.Result{Rounds: []checker.RoundResult{{Number: 1, Notes: []string{"nobody was seen"}}}})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := reports.WriteHTML(&b, dir, rep); err != nil {
		t.Fatal(err)
	}
	if len(rep.Notes) != 1 || rep.Notes[0] != "round 1: nobody was seen" || !strings.Contains(b.String(), rep.Notes[0]) {
		t.Errorf("notes %q", rep.Notes)
	}
}

func TestDamagedRunIsStillReported(t *testing.T) {
	dir, _ := made(t, reportstest.Spec{Seed: 7, Rounds: 3, Nodes: 3, Samples: 20})
	for path, text := range map[string]string{
		filepath.Join(rundir.RoundDir(dir, 1), rundir.FaultsFile):  "{garbage\n",
		filepath.Join(rundir.RoundDir(dir, 2), rundir.RoundFile):   "{",
		filepath.Join(rundir.RoundDir(dir, 3), rundir.SamplesFile): "null\n{\"node\":5}\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	rep, err := reports.Build(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(rep.Rounds) != 3 || len(rep.Notes) != 2 {
		t.Errorf("%d rounds, notes %q", len(rep.Rounds), rep.Notes)
	}
	var b bytes.Buffer
	if err := reports.WriteHTML(&b, dir, rep); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.String(), "the charts show what could be read") {
		t.Error("the page does not say that samples could not be read")
	}
}

func TestNotARunIsAnError(t *testing.T) {
	if _, err := reports.Build(t.TempDir(), nil); err == nil || !strings.Contains(err.Error(), "not a run directory") {
		t.Errorf("error %v", err)
	}
}

func TestAgainQuotesForTheShell(t *testing.T) {
	dir, _ := made(t, reportstest.Spec{Seed: 42, Rounds: 1, Nodes: 3, Samples: 1, Text: "it's $HOME"})
	rep, err := reports.Build(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := `spockchaos run --seed 42 --duration 2m --engine pglogical --faults partition,kill --nodes 3 --rate 0 --recovery-sql 'it'\''s $HOME'`
	if rep.Again.Run != want {
		t.Errorf("got  %s\nwant %s", rep.Again.Run, want)
	}
}
