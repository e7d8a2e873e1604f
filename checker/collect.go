package checker

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// maxExamples is how many violations of one finding are shown with their details.
const maxExamples = 10

// example is one violation.
type example struct {
	key      string         // Finding.Key
	summary  string         // one sentence
	details  map[string]any // beside the key
	from, to time.Time      // when it happened; zero is unknown
}

// collector folds violations that are alike into one finding each, so that memory is
// bounded however much is wrong.
type collector struct {
	round  int
	faults *faultTimes
	m      map[foldKey]*fold
}

// foldKey says what is alike: one kind, on one node, found by one rule.
type foldKey struct {
	kind Kind
	node string
	rule string // "ledger", "event", "slot": also evidence.rule
}

type fold struct {
	finding  Finding
	examples []map[string]any
}

func newCollector(round int, faults *faultTimes) *collector {
	return &collector{round: round, faults: faults, m: make(map[foldKey]*fold)}
}

// add notes count violations at once. show is called for the first few only.
func (c *collector) add(kind Kind, node, rule string, count int64, show func() example) {
	k := foldKey{kind, node, rule}
	f := c.m[k]
	if f == nil {
		f = &fold{finding: Finding{Kind: kind, Round: c.round, Node: node, FaultsActive: []string{}}}
		c.m[k] = f
	}
	f.finding.Count += count
	if len(f.examples) >= maxExamples {
		return
	}
	e := show()
	if len(f.examples) == 0 {
		f.finding.Key, f.finding.Summary = e.key, e.summary
	}
	d := map[string]any{"key": e.key}
	for name, v := range e.details {
		d[name] = v
	}
	if !e.from.IsZero() {
		d["from"] = e.from
	}
	if !e.to.IsZero() {
		d["to"] = e.to
	}
	f.examples = append(f.examples, d)
	for _, name := range c.faults.during(e.from, e.to) {
		if !slices.Contains(f.finding.FaultsActive, name) {
			f.finding.FaultsActive = append(f.finding.FaultsActive, name)
		}
	}
}

// findings are what was collected, in a fixed order.
func (c *collector) findings() []Finding {
	keys := make([]foldKey, 0, len(c.m))
	for k := range c.m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b foldKey) int {
		return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.node, b.node), cmp.Compare(a.rule, b.rule))
	})
	out := make([]Finding, 0, len(keys))
	for _, k := range keys {
		f := c.m[k].finding
		if f.Count > 1 {
			f.Summary += " (" + strconv.FormatInt(f.Count, 10) + " alike)"
		}
		f.Evidence = map[string]any{"rule": k.rule, "first": c.m[k].examples}
		out = append(out, f)
	}
	return out
}

// opKey names an operation in a finding.
func opKey(session int, n int64) string { return fmt.Sprintf("session %d n %d", session, n) }
