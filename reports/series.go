package reports

import (
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"time"

	"github.com/spockchaos/spockchaos/checker/rundir"
)

// point is a value at a time, in seconds from the start of the round. A NaN value
// is a gap: the node did not answer.
type point struct{ t, v float64 }

// series keeps at most 2·limit points of any number, in one pass: when it is full,
// neighbours become one, with the larger value, and from then on each point stands
// for twice as many samples. A peak is never lost.
type series struct {
	points []point
	limit  int
	stride int // samples per point
	open   int // samples in the last point
}

func newSeries(limit int) *series { return &series{limit: max(limit, 2), stride: 1} }

func (s *series) add(t, v float64) {
	n := len(s.points)
	if math.IsNaN(v) && n > 0 && math.IsNaN(s.points[n-1].v) {
		return // one gap is enough
	}
	if n > 0 && s.open < s.stride {
		s.points[n-1] = larger(s.points[n-1], point{t, v})
		s.open++
		return
	}
	if n >= 2*s.limit {
		half := s.points[:0]
		for i := 0; i+1 < n; i += 2 {
			half = append(half, larger(s.points[i], s.points[i+1]))
		}
		s.points = half
		s.stride *= 2
	}
	s.points = append(s.points, point{t, v})
	s.open = 1
}

func larger(a, b point) point {
	if math.IsNaN(a.v) || b.v >= a.v {
		return b
	}
	return a
}

// nodeSeries is what the charts of a round show of one node.
type nodeSeries struct {
	retained *series // bytes of WAL that the recovery slot keeps
	position *series // how far confirmed_flush_lsn has come since the first sample, bytes
	lag      *series // bytes of its peers' WAL that the node has not applied
	falls    []fall
}

// fall is a position that was lower than before: worth a mark, whatever the scale.
type fall struct {
	t    float64
	v    float64
	text string
}

// maxFalls bounds the marks of one node.
const maxFalls = 40

// roundSeries is what the charts of a round are drawn from.
type roundSeries struct {
	nodes map[string]*nodeSeries
	end   float64 // of the last sample, seconds
}

// readSeries reads a round's samples once. start is where the time axis begins.
func readSeries(dir string, number int, start time.Time, limit int) (*roundSeries, error) {
	rs := &roundSeries{nodes: map[string]*nodeSeries{}}
	state := map[string]*nodeState{}
	path := filepath.Join(rundir.RoundDir(dir, number), rundir.SamplesFile)
	err := rundir.EachLine(path, func(s rundir.Sample) error {
		if len(state) >= maxNodesDrawn && state[s.Node] == nil {
			return nil
		}
		ns := rs.nodes[s.Node]
		if ns == nil {
			ns = &nodeSeries{retained: newSeries(limit), position: newSeries(limit), lag: newSeries(limit)}
			rs.nodes[s.Node] = ns
			state[s.Node] = &nodeState{applied: map[string]rundir.LSN{}}
		}
		t := s.End.Sub(start).Seconds()
		if s.End.IsZero() {
			t = s.At.Sub(start).Seconds()
		}
		rs.end = max(rs.end, t)
		ns.add(t, s, state)
		return nil
	})
	return rs, err
}

// maxNodesDrawn bounds what a garbled file can make of the charts; a run has at most nine.
const maxNodesDrawn = 16

// nodeState is the newest of a node that other samples are compared with.
type nodeState struct {
	flush              rundir.LSN
	applied            map[string]rundir.LSN // by provider
	first              rundir.LSN
	confirmed, restart rundir.LSN
}

func (ns *nodeSeries) add(t float64, s rundir.Sample, all map[string]*nodeState) {
	me := all[s.Node]
	if s.Error != "" {
		ns.retained.add(t, math.NaN())
		ns.position.add(t, math.NaN())
		ns.lag.add(t, math.NaN())
		return
	}
	me.flush = s.FlushLSN
	for _, o := range s.Origins {
		me.applied[o.Node] = o.Remote
	}
	ns.lag.add(t, float64(lagBehindPeers(me, all)))
	if s.Slot == nil {
		ns.retained.add(t, math.NaN())
		ns.position.add(t, math.NaN())
		return
	}
	ns.retained.add(t, float64(s.Slot.Retained))
	if s.Slot.Confirmed == 0 {
		ns.position.add(t, math.NaN())
		return
	}
	if me.first == 0 {
		me.first = s.Slot.Confirmed
	}
	advance := float64(s.Slot.Confirmed) - float64(me.first)
	ns.position.add(t, advance)
	if (s.Slot.Confirmed < me.confirmed || s.Slot.Restart < me.restart && s.Slot.Restart != 0) && len(ns.falls) < maxFalls {
		ns.falls = append(ns.falls, fall{t, advance, fmt.Sprintf("%s: confirmed_flush_lsn %s, before %s; restart_lsn %s, before %s",
			s.Node, s.Slot.Confirmed, me.confirmed, s.Slot.Restart, me.restart)})
	}
	me.confirmed, me.restart = s.Slot.Confirmed, s.Slot.Restart
}

// lagBehindPeers is how much of the WAL of the peer that it is furthest behind a node has not applied.
func lagBehindPeers(me *nodeState, all map[string]*nodeState) int64 {
	var most int64
	for provider, applied := range me.applied {
		p := all[provider]
		if p == nil || applied == 0 || p.flush <= applied {
			continue
		}
		most = max(most, int64(p.flush-applied))
	}
	return most
}

func (rs *roundSeries) names() []string { return slices.Sorted(maps.Keys(rs.nodes)) }
