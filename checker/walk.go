package checker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/workload/history"
)

// walker reads the histories session by session and the final snapshots beside
// them, once, in the order that both are in: (session, n); then the conflicts, by key. What it keeps is bounded by
// the live registers of one session, the writes of one conflict key, the pools, and what is wrong.
type walker struct {
	in      *input
	c       *collector
	groups  []*group
	all     uint64 // one bit per group
	result  *RoundResult
	applied []spans        // per group: which of the session's transactions are there
	nodeOf  map[int]string // by session

	observing  observing
	absent     absentQueue
	registers  []registerReplay // per group
	bulks      []bulkReplay
	counters   []counterReplay
	missing    []counterReplay // per group: what transactions that are not there would have added to counters
	accounts   []counterReplay
	touched    []touched        // per group
	eventSizes []int64          // scratch
	puts       []history.Effect // scratch
	union      map[opID]write   // scratch
	tails      map[string]*tail // by node, of the session that is read
	streams    map[stream]*late // nil for those over which nothing can be late
}

// session is one history while it is walked.
type session struct {
	path   string
	header history.Header
	id     int64
	last   int64 // number of the last operation
	doomed bool  // it wrote to the node that was lost: its last writes may be gone by design
}

func newWalker(in *input, c *collector, result *RoundResult, groups []*group) *walker {
	w := &walker{in: in, c: c, groups: groups, result: result, all: 1<<len(groups) - 1}
	w.nodeOf, w.union = make(map[int]string), make(map[opID]write)
	w.tails, w.streams = make(map[string]*tail), make(map[stream]*late)
	for _, s := range in.run.Workload.Sessions {
		w.nodeOf[s.ID] = s.Node
	}
	for range groups {
		w.applied = append(w.applied, spans{})
		w.registers = append(w.registers, newRegisterReplay())
		w.bulks = append(w.bulks, bulkReplay{})
		w.counters = append(w.counters, newCounters(in.run.Workload))
		w.missing = append(w.missing, make(counterReplay))
		w.accounts = append(w.accounts, newAccounts(in.run.Workload.Pools))
		w.touched = append(w.touched, newTouched(in))
	}
	return w
}

// walk judges every operation and every row.
func (w *walker) walk(ctx context.Context) error {
	for _, h := range w.in.histories {
		if err := w.session(ctx, h); err != nil {
			return err
		}
	}
	for _, g := range w.groups {
		if err := w.strangers(g, math.MaxInt64); err != nil {
			return err
		}
	}
	w.unknownSessionsObserved()
	if w.in.run.Workload.Conflict != nil {
		if err := w.judgeConflicts(ctx); err != nil {
			return err
		}
	}
	for i, g := range w.groups {
		if err := w.judgeCounters(ctx, i, g); err != nil {
			return err
		}
		w.judgeAccounts(i, g)
		if err := g.err(); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) session(ctx context.Context, h historyFile) error {
	s := &session{path: h.path, header: h.header, id: int64(h.header.Session),
		doomed: w.in.round.Kind == rundir.KindLoss && h.header.Node == w.in.round.Failed}
	for i, g := range w.groups {
		if err := w.strangers(g, s.id); err != nil {
			return err
		}
		w.applied[i].reset()
		w.registers[i].reset()
		w.bulks[i].reset()
	}
	w.observing.begin(w.in.observed[h.header.Session])
	byWorkload := w.result.Operations.workload(h.header.Workload)

	err := eachOp(ctx, s.path, w.in.round.Complete, func(op *history.Op) {
		s.last = op.N
		w.result.Operations.count(op.Outcome)
		byWorkload.count(op.Outcome)
		var applied uint64
		for i, g := range w.groups {
			here := w.marker(g, s, op)
			if here {
				applied |= 1 << i
				w.applied[i].add(op.N)
				if len(w.tails) > 0 {
					for _, node := range g.nodes {
						w.tailLost(node)
					}
				}
			}
			w.judgeEvents(g, s, op, here)
			w.judgeVersions(g, s, op, here)
			if here {
				w.registers[i].apply(op)
				w.bulks[i].apply(op)
				w.counters[i].applyCounter(op)
				w.accounts[i].applyAccount(op)
				w.touched[i].apply(op)
			}
		}
		if op.Outcome == history.OK || applied != 0 {
			for i := range w.groups {
				if applied&(1<<i) == 0 {
					w.missing[i].applyCounter(op)
				}
			}
		}
		if w.all != 0 {
			w.presence(s, op, applied)
		}
		w.observe(s, op, applied)
	})
	if err != nil {
		return err
	}
	w.observeEnd(s)
	w.absentEnd(s)
	w.tailsEnd(s)
	for i, g := range w.groups {
		if err := w.markersBeyond(g, s); err != nil {
			return err
		}
		w.eventsBeyond(g, s)
		w.versionsBefore(g, s, math.MaxInt64)
		wrongRegisters := w.compareRegisters(i, g, s)
		wrongBulks := w.compareBulks(i, g, s)
		if len(wrongRegisters)+len(wrongBulks) > 0 {
			if err := w.autopsy(ctx, i, g, s, wrongRegisters, wrongBulks); err != nil {
				return err
			}
		}
	}
	return nil
}

// strangers finds rows of sessions that have no history, up to the given one.
func (w *walker) strangers(g *group, before int64) error {
	for c := g.ledger; c.row != nil && c.row[0] < before; c.next() {
		id, n, value := c.row[0], c.row[1], c.row[2]
		if n >= 1 && id >= 0 && id < 1<<31 && value == history.LedgerValue(w.seed(), int(id), n) {
			return fmt.Errorf("%s: there is no history of session %d, but %s has its write %d", w.in.dir, id, g.nodes[0], n)
		}
		w.phantomRow(g, rundir.TableLedger, opKey(int(id), n))
	}
	for c := g.event; c.row != nil && c.row[0] < before; c.next() {
		w.phantomRow(g, rundir.TableEvent, opKey(int(c.row[0]), c.row[1]))
	}
	for c := g.bulk; c.row != nil && c.row[0] < before; c.next() {
		w.phantomRow(g, rundir.TableBulk, opKey(int(c.row[0]), c.row[1]))
	}
	for c := g.version; c != nil && c.row != nil && c.row[0] < before; c.next() {
		w.phantomRow(g, rundir.TableVersion, opKey(int(c.row[0]), c.row[1]))
	}
	for c := g.register; c.row != nil && c.row[0]>>32 < before; c.next() {
		w.phantomRow(g, rundir.TableRegister, fmt.Sprintf("register %d", c.row[0]))
	}
	return nil
}

// phantomRow reports a row that no operation wrote.
func (w *walker) phantomRow(g *group, table, key string) {
	w.onEach(g, Phantom, table, 1, func(node string) example {
		return example{key: key, summary: fmt.Sprintf("%s has a row of table %s (%s) that no operation wrote", node, table, key)}
	})
}

// seed of the round's data: the histories', which all have the same.
func (w *walker) seed() uint64 {
	if len(w.in.histories) > 0 {
		return w.in.histories[0].header.Seed
	}
	return w.in.round.Seed
}

// onEach reports a violation on every node of a group.
func (w *walker) onEach(g *group, kind Kind, rule string, count int64, show func(node string) example) {
	for _, node := range g.nodes {
		w.c.add(kind, node, rule, count, func() example { return show(node) })
	}
}

// nodes names the nodes of the groups in a set.
func (w *walker) nodes(set uint64) string { return strings.Join(w.nodesIn(set), ", ") }

func (w *walker) nodesIn(set uint64) (names []string) {
	for i, g := range w.groups {
		if set&(1<<i) != 0 {
			names = append(names, g.nodes...)
		}
	}
	return names
}

// opExample is an example about one operation.
func opExample(s *session, op *history.Op, summary string) example {
	d := map[string]any{"outcome": op.Outcome.String(), "written_to": s.header.Node, "workload": s.header.Workload}
	if op.SQLState != "" {
		d["sqlstate"] = op.SQLState
	}
	return example{key: opKey(s.header.Session, op.N), summary: summary, details: d, from: op.InvokedAt, to: op.CompletedAt}
}

// eachOp reads a history. A file that ends in the middle of a record is what a
// killed program leaves; where the round came to its end, it is one that was cut
// later, and what was cut off is not known.
func eachOp(ctx context.Context, path string, whole bool, f func(*history.Op)) error {
	r, err := history.Open(path)
	if err != nil {
		return fmt.Errorf("reading: %w", err)
	}
	defer r.Close() // read only
	var op history.Op
	for i := 0; ; i++ {
		if i&0xfff == 0 && ctx.Err() != nil {
			return fmt.Errorf("reading %s: %w", path, ctx.Err())
		}
		err := r.Next(&op)
		if errors.Is(err, io.EOF) {
			if whole && r.Truncated() {
				return fmt.Errorf("reading %s: truncated in the middle of a record", path)
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading: %w", err)
		}
		f(&op)
	}
}

func (o *Operations) count(outcome history.Outcome) {
	switch outcome {
	case history.OK:
		o.OK++
	case history.Fail:
		o.Fail++
	default:
		o.Unknown++
	}
}

// workload returns the counts of one workload.
func (o *Operations) workload(name string) *Operations {
	if o.ByWorkload == nil {
		o.ByWorkload = make(map[string]*Operations)
	}
	if o.ByWorkload[name] == nil {
		o.ByWorkload[name] = new(Operations)
	}
	return o.ByWorkload[name]
}

func (o *Operations) add(p Operations) {
	o.OK += p.OK
	o.Fail += p.Fail
	o.Unknown += p.Unknown
	for name, x := range p.ByWorkload {
		o.workload(name).add(*x)
	}
}

// spans is a set of rising numbers, kept as runs.
type spans struct{ runs [][2]int64 }

func (s *spans) reset() { s.runs = s.runs[:0] }

func (s *spans) add(n int64) {
	if k := len(s.runs) - 1; k >= 0 && s.runs[k][1] == n-1 {
		s.runs[k][1] = n
		return
	}
	s.runs = append(s.runs, [2]int64{n, n})
}

// reader answers for rising numbers whether they are in the set.
func (s *spans) reader() func(n int64) bool {
	i := 0
	return func(n int64) bool {
		for i < len(s.runs) && s.runs[i][1] < n {
			i++
		}
		return i < len(s.runs) && s.runs[i][0] <= n
	}
}
