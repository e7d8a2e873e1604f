package checker

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spockchaos/spockchaos/checker/rundir"
)

// stream is a survivor's subscription to another, where the survivors did not come to agree in time.
type stream struct{ node, provider string }

// tail is what a node lacks of the end of a session: writes behind which it has none, and that nothing explains. Whether they are lost or only late
// shows at the session's end.
type tail struct {
	count    int64
	examples []example // the first
	sent     time.Time // when the last of them was
}

// late is what had not come over a stream yet when the round was over.
type late struct {
	writes int64
	first  string     // the first write that was met
	at     rundir.LSN // how far the subscriber had come in the provider's WAL
}

// lateOver says whether what a node lacks of a provider's writes may be on its way still: the survivors did not agree in time, and the node
// was still moving on in the provider's WAL towards the end of the wait; and how far it had come.
func (in *input) lateOver(s stream) (rundir.LSN, bool) {
	wait, ok := in.phase(rundir.PhaseQuiesce)
	if !ok || in.round.Quiesced || wait.End.IsZero() || s.node == s.provider || !in.survivor(s.provider) {
		return 0, false
	}
	var before, last rundir.LSN
	for i := range in.samples[s.node] {
		x := &in.samples[s.node][i]
		o := slices.IndexFunc(x.Origins, func(o rundir.Origin) bool { return o.Node == s.provider })
		if !good(x) || o < 0 || x.At.Before(wait.Start) || x.End.After(wait.End) {
			continue
		}
		last = x.Origins[o].Remote
		if x.End.Before(wait.End.Add(-wait.End.Sub(wait.Start) / 3)) {
			before = last
		}
	}
	return last, before > 0 && last > before
}

// flushedBefore is a position in a node's WAL that is before whatever was committed there from t on: what it had flushed when it was last looked at.
func (in *input) flushedBefore(node string, t time.Time) rundir.LSN {
	var lsn rundir.LSN
	for i := range in.samples[node] {
		x := &in.samples[node][i]
		if good(x) && !x.End.After(t) {
			lsn = max(lsn, x.FlushLSN)
		}
	}
	return lsn
}

// mayBeLate puts a write that node lacks into the tail, if it may be on its way still.
func (w *walker) mayBeLate(node string, s *session, sent time.Time, show func() example) bool {
	over := stream{node, s.header.Node}
	if _, known := w.streams[over]; !known {
		at, moving := w.in.lateOver(over)
		w.streams[over] = nil
		if moving {
			w.streams[over] = &late{at: at}
		}
	}
	if w.streams[over] == nil {
		return false
	}
	t := w.tails[node]
	if t == nil {
		t = &tail{}
		w.tails[node] = t
	}
	t.count++
	t.sent = sent
	if len(t.examples) < maxExamples {
		t.examples = append(t.examples, show())
	}
	return true
}

// tailLost reports the tail of a node as lost: a later write of the session is there.
func (w *walker) tailLost(node string) {
	t := w.tails[node]
	if t == nil {
		return
	}
	delete(w.tails, node)
	for _, e := range t.examples {
		w.c.add(Lost, node, "ledger", 1, func() example { return e })
	}
	if rest := t.count - int64(len(t.examples)); rest > 0 {
		w.c.add(Lost, node, "ledger", rest, func() example { return t.examples[0] })
	}
}

// tailsEnd judges the tails at the end of a session: late is what was sent when the provider's WAL was already beyond what the node has of it.
func (w *walker) tailsEnd(s *session) {
	for _, node := range slices.Sorted(maps.Keys(w.tails)) {
		t, l := w.tails[node], w.streams[stream{node, s.header.Node}]
		if w.in.flushedBefore(s.header.Node, t.sent) < l.at {
			w.tailLost(node)
			continue
		}
		if l.writes == 0 {
			l.first = t.examples[0].key
		}
		l.writes += t.count
		delete(w.tails, node)
	}
}

// onTheirWay says what was late, for the finding that the survivors did not agree.
func (w *walker) onTheirWay() (text string, evidence []map[string]any) {
	var parts []string
	for _, over := range slices.SortedFunc(maps.Keys(w.streams), func(a, b stream) int { return strings.Compare(a.node+a.provider, b.node+b.provider) }) {
		l := w.streams[over]
		if l == nil || l.writes == 0 {
			continue
		}
		noun := "writes"
		if l.writes == 1 {
			noun = "write"
		}
		parts = append(parts, fmt.Sprintf("%d acknowledged %s of %s, from %s on, had not come to %s yet, which had come to %s in its WAL and went on",
			l.writes, noun, over.provider, l.first, over.node, l.at))
		evidence = append(evidence, map[string]any{"writes": l.writes, "first": l.first, "written_to": over.provider, "node": over.node, "progress": l.at.String()})
	}
	return strings.Join(parts, "; "), evidence
}
