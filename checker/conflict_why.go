package checker

import (
	"fmt"
	"slices"
	"time"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/workload/history"
)

// conflictDiverged reports that a side holds another write of a key than the newest, while the survivors disagree. What
// timestamps and overwritten writes say of the reason is said, and folded apart.
func (w *walker) conflictDiverged(key int64, hot bool, x *side, newest write, who string, union map[opID]write) {
	top, through := supersedes(x.row, x.writes)
	var rule, why string
	switch {
	case !includes(x.writes, newest.id):
		rule, why = "conflict_absent", w.whyAbsent(x.group.nodes[0], newest, union)
	case x.row != nil && x.row.at == newest.at:
		rule, why = "conflict_tie", "both have the same commit timestamp, and what then wins depends on which arrives last"
	case top >= newest.at:
		rule = "conflict_clock"
		v, prev := through[len(through)-1], union[through[len(through)-1].prev]
		behind := "was behind that of " + w.writer(prev.id)
		if w.writer(prev.id) == w.writer(v.id) {
			behind = "was set back"
		}
		why = fmt.Sprintf("the clocks explain it: on %s %s overwrote %s although that one's commit timestamp is later by %v: the clock of %s %s, "+
			"and where the two met in replication the overwritten one won", w.writer(v.id), w.describe(v), w.describe(prev), gap(prev.at, v.at), w.writer(v.id), behind)
	default:
		rule, why = w.causality(key, hot, x, top, newest, union)
	}
	w.conflictWrong(Diverged, rule, why, key, x, newest, who)
}

// whyAbsent says what is known of a write that did not come to a node.
func (w *walker) whyAbsent(node string, v write, union map[opID]write) string {
	why := "the newer write is not there at all"
	if w.skippable(v, node, union) {
		first := root(v, union)
		why += fmt.Sprintf(": %s updated a row that %s had inserted (%s), which may have come later", w.writer(v.id), w.writer(first.id), opKey(first.id.session, first.id.n))
	}
	if e, explained := w.in.explanations[nodeOp{node, v.id}]; explained {
		why += "; " + e.Source + " there says why: " + e.Entry
	}
	return why
}

// causality says whether it explains that a side lacks the newest write, although it came.
func (w *walker) causality(key int64, hot bool, x *side, top int64, newest write, union map[opID]write) (rule, why string) {
	yes, brought := w.skipped(x, top, union)
	if hot || !yes {
		return "conflict", "nothing in the timestamps explains it"
	}
	first := root(newest, union)
	why = fmt.Sprintf("causality explains it: %s updated a row that %s had inserted (%s), and the update came before that insert: there was no row to update, ",
		w.writer(newest.id), w.writer(first.id), opKey(first.id.session, first.id.n))
	if brought == "" {
		brought = "the engine skipped it, and what came later stayed"
	}
	return "conflict_causality", why + brought + w.logged(key, x.group.nodes, newest)
}

// logged quotes what the engine says on nodes, or on the sources of their rescues, of a write that it skipped there.
func (w *walker) logged(key int64, nodes []string, v write) string {
	nodes = slices.Clone(nodes)
	for _, r := range w.in.rescues {
		if slices.Contains(nodes, r.Target) && !slices.Contains(nodes, r.Source) {
			nodes = append(nodes, r.Source)
		}
	}
	for _, node := range nodes {
		if e := w.in.explainPut(node, key, v.id); e != nil {
			return fmt.Sprintf("; %s of %s: %s", e.Source, node, e.Entry)
		}
	}
	return ""
}

// conflictWrong reports the row of a side.
func (w *walker) conflictWrong(kind Kind, rule, why string, key int64, x *side, newest write, who string) {
	w.onEach(x.group, kind, rule, 1, func(node string) example {
		e := w.conflictExample(key, node, x, newest, who)
		e.summary += "; " + why
		e.details["explanation"] = why
		return e
	})
}

func includes(writes []write, id opID) bool {
	for _, v := range writes {
		if v.id == id {
			return true
		}
	}
	return false
}

// skipped says whether each write after top, which should have won over a side's row, can have been skipped there because there was
// no row yet. brought says that it takes a rescue to explain it, and which.
func (w *walker) skipped(x *side, top int64, union map[opID]write) (yes bool, brought string) {
	for _, v := range x.writes {
		if v.at <= top {
			continue
		}
		for _, node := range x.group.nodes {
			if w.skippable(v, node, union) {
				continue
			}
			r := slices.IndexFunc(w.in.rescues, func(r rundir.Rescue) bool {
				return r.Target == node && r.Failed == w.writer(v.id) && w.skippable(v, r.Source, union)
			})
			if r < 0 {
				return false, ""
			}
			brought = fmt.Sprintf("%s skipped it, and so the rescue of %s from there could not bring it", w.in.rescues[r].Source, node)
		}
		yes = true
	}
	return yes, brought
}

// skippable says whether a node can have skipped a write because it came as the update of a row that was not there yet: it was an
// update, its node is another, and the row that it updated was inserted on a third, whose transactions may come later.
func (w *walker) skippable(v write, node string, union map[opID]write) bool {
	first := root(v, union)
	writer, inserter := w.writer(v.id), w.writer(first.id)
	return v.prev != noRow && first.prev == noRow && writer != inserter && node != writer && node != inserter
}

// root follows what a write overwrote to the first write of the row, as far as it is known.
func root(v write, union map[opID]write) write {
	for range union {
		prev, known := union[v.prev]
		if !known {
			return v
		}
		v = prev
	}
	return v
}

// conflictExample says what a node holds, and what the newest write is and who holds it.
func (w *walker) conflictExample(key int64, node string, x *side, newest write, who string) example {
	d := w.keyDetails(x.writes)
	d["newest"] = w.describe(newest)
	latest := fmt.Sprintf("%s the newest write, %s, which %s", who, w.describe(newest), w.overwrote(newest))
	e := example{key: conflictName(key), details: d, from: moment(newest.at), to: moment(newest.at)}
	if x.row == nil {
		e.summary = fmt.Sprintf("%s: %s has no row; %s", e.key, node, latest)
		return e
	}
	d["holds"] = w.describe(*x.row)
	e.summary = fmt.Sprintf("%s: %s holds %s; %s", e.key, node, w.describe(*x.row), latest)
	if x.row.id.session != 0 {
		e.from, e.to = moment(min(x.row.at, newest.at)), moment(max(x.row.at, newest.at))
	}
	return e
}

func conflictName(key int64) string { return fmt.Sprintf("conflict %d", key) }

// writer is the node that a write was sent to.
func (w *walker) writer(id opID) string {
	if node := w.nodeOf[id.session]; node != "" {
		return node
	}
	return "nobody"
}

// describe names a write with its origin and its commit timestamp.
func (w *walker) describe(v write) string {
	if v.id == (opID{0, history.InitialWrite}) {
		return "what was there at first"
	}
	return fmt.Sprintf("%s of %s (committed %s)", opKey(v.id.session, v.id.n), w.writer(v.id), clock(v.at))
}

// overwrote says what a write overwrote.
func (w *walker) overwrote(v write) string {
	switch v.prev {
	case noRow:
		return "inserted the row"
	case opID{0, history.InitialWrite}:
		return "overwrote what was there at first"
	}
	return fmt.Sprintf("overwrote %s of %s", opKey(v.prev.session, v.prev.n), w.writer(v.prev))
}

func moment(micro int64) time.Time { return time.UnixMicro(micro).UTC() }

func clock(micro int64) string { return moment(micro).Format("15:04:05.000000") }

func gap(a, b int64) time.Duration { return time.Duration(a-b) * time.Microsecond }
