package checker

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/workload/history"
)

type opID struct {
	session int
	n       int64
}

type nodeOp struct {
	node string
	op   opID
}

// input is what a round left, but for histories and row files, which are streamed.
type input struct {
	run          rundir.Run
	dir          string // of the round
	round        rundir.Round
	faults       []rundir.Fault
	events       []rundir.NodeEvent
	samples      map[string][]rundir.Sample // by node, in the order of their times
	observations []rundir.Observation       // Sessions are moved to observed
	observed     map[int][]observed         // by session
	rescues      []rundir.Rescue
	explanations map[nodeOp]rundir.Explanation // the first of each
	givenUp      map[nodeRow][]rundir.Explanation
	histories    []historyFile // by session
}

type historyFile struct {
	path   string
	header history.Header
}

// observed is one ObservedSession with the observation that it came from.
type observed struct {
	rundir.ObservedSession
	observation int // index in input.observations
}

// survivor says whether a node is one of those that must hold every write at the end.
func (in *input) survivor(node string) bool { return slices.Contains(in.round.Survivors, node) }

// judgesEnd says whether the round's final snapshots are meant to be judged. One
// that was broken off is, only if its nodes had come to rest.
func (in *input) judgesEnd() bool {
	return in.round.Complete && (!in.round.Interrupted || in.round.Quiesced)
}

// tables are the row files that the round's final snapshots have.
func (in *input) tables() []string {
	if in.run.Workload.Conflict != nil {
		return rundir.Tables
	}
	return rundir.Tables[:slices.Index(rundir.Tables, rundir.TableConflict)]
}

// phase returns a phase of the round, the last if there are several of its name.
func (in *input) phase(name string) (rundir.Phase, bool) {
	for _, p := range slices.Backward(in.round.Phases) {
		if p.Name == name {
			return p, true
		}
	}
	return rundir.Phase{}, false
}

// phaseEnd is the end of a phase, zero if it did not end.
func (in *input) phaseEnd(name string) time.Time {
	p, _ := in.phase(name)
	return p.End
}

// load reads a round. A round whose round.json was never written has Number 0.
func load(run rundir.Run, dir string, n int) (*input, error) {
	in := &input{run: run, dir: rundir.RoundDir(dir, n), samples: make(map[string][]rundir.Sample),
		observed: make(map[int][]observed), explanations: make(map[nodeOp]rundir.Explanation),
		givenUp: make(map[nodeRow][]rundir.Explanation)}
	err := rundir.ReadJSON(filepath.Join(in.dir, rundir.RoundFile), &in.round)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if in.round.Complete && len(in.round.Survivors) == 0 {
		return nil, fmt.Errorf("%s names no survivors", filepath.Join(in.dir, rundir.RoundFile))
	}
	for _, part := range []func() error{in.loadFaults, in.loadEvents, in.loadRescues, in.loadSamples, in.loadObservations, in.loadExplanations, in.findHistories} {
		if err := part(); err != nil {
			return nil, err
		}
	}
	return in, nil
}

func (in *input) loadFaults() error {
	return eachOf(in, rundir.FaultsFile, func(f rundir.Fault) { in.faults = append(in.faults, f) })
}

func (in *input) loadEvents() error {
	err := eachOf(in, rundir.EventsFile, func(e rundir.NodeEvent) { in.events = append(in.events, e) })
	slices.SortStableFunc(in.events, func(a, b rundir.NodeEvent) int { return a.At.Compare(b.At) })
	return err
}

func (in *input) loadRescues() error {
	return eachOf(in, rundir.RescuesFile, func(r rundir.Rescue) { in.rescues = append(in.rescues, r) })
}

func eachOf[T any](in *input, file string, f func(T)) error {
	return rundir.EachLine(filepath.Join(in.dir, file), func(v T) error { f(v); return nil })
}

func (in *input) loadSamples() error {
	err := eachOf(in, rundir.SamplesFile, func(s rundir.Sample) {
		in.samples[s.Node] = append(in.samples[s.Node], s)
	})
	for _, s := range in.samples {
		slices.SortStableFunc(s, func(a, b rundir.Sample) int { return a.At.Compare(b.At) })
	}
	return err
}

func (in *input) loadObservations() error {
	err := eachOf(in, rundir.ObservationsFile, func(o rundir.Observation) {
		if o.Error != "" {
			return
		}
		for _, s := range o.Sessions {
			if s.Max == s.After && s.Count == 0 && s.Sum == 0 {
				continue // nothing new was seen
			}
			in.observed[s.Session] = append(in.observed[s.Session], observed{s, len(in.observations)})
		}
		o.Sessions = nil
		in.observations = append(in.observations, o)
	})
	for _, o := range in.observed {
		slices.SortStableFunc(o, func(a, b observed) int { return cmp.Compare(a.After, b.After) })
	}
	return err
}

// findHistories lists the history files by session.
func (in *input) findHistories() error {
	dir := filepath.Join(in.dir, rundir.HistoryDir)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading histories: %w", err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".hist") {
			continue
		}
		path := filepath.Join(dir, e.Name())
		r, err := history.Open(path)
		if errors.Is(err, history.ErrNoHeader) && !in.round.Complete {
			continue // its session was killed before it sent anything
		}
		if err != nil {
			return fmt.Errorf("reading: %w", err)
		}
		in.histories = append(in.histories, historyFile{path, r.Header()})
		if err := r.Close(); err != nil {
			return fmt.Errorf("closing %s: %w", path, err)
		}
	}
	slices.SortFunc(in.histories, func(a, b historyFile) int { return cmp.Compare(a.header.Session, b.header.Session) })
	for i := 1; i < len(in.histories); i++ {
		if a, b := in.histories[i-1], in.histories[i]; a.header.Session == b.header.Session {
			return fmt.Errorf("%s and %s are both of session %d", a.path, b.path, a.header.Session)
		}
	}
	return nil
}
