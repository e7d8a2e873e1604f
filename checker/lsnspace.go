package checker

import (
	"fmt"
	"time"

	"github.com/spockchaos/spockchaos/checker/rundir"
)

// foreignLSN is a position that is used as one in a node's WAL and is none. Positions of different nodes mean nothing to each
// other: a peer's progress (remote_lsn) is one in the origin's WAL, a slot's is one in the WAL of its node.
type foreignLSN struct {
	position rundir.LSN
	node     string     // in whose WAL it is none
	from, to rundir.LSN // that WAL; from 0: not known
	// whose WAL it is a position in, "" if that is not known.
	whose string
	// holder is a node whose progress for whose was exactly this position at a time, "" for none.
	holder string
	at     time.Time
}

// ownWAL is the WAL that a node has when a sample is read. Where it ends is read after the slot, so no position of the slot is beyond
// it; the size of pg_wal says how far back it can reach at most. from 0: not known.
func ownWAL(s *rundir.Sample) (from, to rundir.LSN) {
	if size := rundir.LSN(s.WALBytes); s.WALBytes > 0 && size < s.InsertLSN {
		from = s.InsertLSN - size
	}
	return from, s.FlushLSN
}

// foreign proves that a position is none in me's WAL as a sample shows that; nil if it may be one.
func foreign(in *input, me string, s *rundir.Sample, position rundir.LSN) *foreignLSN {
	f := &foreignLSN{position: position, node: me}
	f.from, f.to = ownWAL(s)
	if position == 0 || position >= f.from && position <= f.to {
		return nil
	}
	for _, holder := range in.run.Nodes {
		for i := range in.samples[holder] {
			x := &in.samples[holder][i]
			if x.At.After(s.End) {
				break
			}
			for _, o := range x.Origins {
				if o.Remote == position && o.Node != me && good(x) && !x.At.Before(f.at) {
					f.whose, f.holder, f.at = o.Node, holder, x.At
				}
			}
		}
	}
	if f.holder != "" {
		return f
	}
	f.whose = contains(in, me, s, position)
	// The WAL before from may have been removed since the slot was read, and a slot that was given up keeps a position in such WAL.
	if position < f.from && (f.whose == "" || s.Slot != nil && s.Slot.WALStatus == "lost") {
		return nil
	}
	return f
}

// contains is the one other node whose WAL has had a position up to a sample, "" for none or several.
func contains(in *input, me string, s *rundir.Sample, position rundir.LSN) (node string) {
	for _, other := range in.run.Nodes {
		if other == me {
			continue
		}
		from, to := reach(in, other, s.End)
		if from == 0 || position < from || position > to {
			continue
		}
		if node != "" {
			return ""
		}
		node = other
	}
	return node
}

// reach is the WAL that a node is known to have had up to a time: by its own samples, and by what others had of it. from 0: not known.
func reach(in *input, node string, until time.Time) (from, to rundir.LSN) {
	for holder, samples := range in.samples {
		for i := range samples {
			x := &samples[i]
			if x.At.After(until) {
				break
			}
			if !good(x) {
				continue
			}
			if holder == node {
				low, high := ownWAL(x)
				if low != 0 && (from == 0 || low < from) {
					from = low
				}
				to = max(to, high)
				continue
			}
			for _, o := range x.Origins {
				if o.Node == node {
					to = max(to, o.Remote)
				}
			}
		}
	}
	return from, to
}

// String is the evidence as the second half of a sentence.
func (f *foreignLSN) String() string {
	own := "up to " + f.to.String()
	if f.from != 0 {
		own = "at most from " + f.from.String() + " to " + f.to.String()
	}
	switch {
	case f.holder != "":
		return fmt.Sprintf("%s is a position in %s's WAL and none in %s's (%s): it is exactly %s's progress for %s (remote_lsn) of %s",
			f.position, f.whose, f.node, own, f.holder, f.whose, f.at.UTC().Format("15:04:05.000"))
	case f.whose != "":
		return fmt.Sprintf("%s lies in %s's WAL and not in %s's (%s)", f.position, f.whose, f.node, own)
	}
	return fmt.Sprintf("%s is no position in %s's WAL (%s)", f.position, f.node, own)
}

// tell adds to an example whose WAL a position is one in that is used as one in me's, if it is none there.
func (e example) tell(in *input, me string, s *rundir.Sample, position rundir.LSN) example {
	f := foreign(in, me, s, position)
	if f == nil {
		return e
	}
	e.summary += "; " + f.String()
	d := map[string]any{"position": f.position, "used_for": me, "its_wal_from": f.from, "its_wal_to": f.to, "whose": f.whose}
	if f.holder != "" {
		d["progress_of"], d["progress_at"] = f.holder, f.at
	}
	if e.details == nil {
		e.details = map[string]any{}
	}
	e.details["foreign_lsn"] = d
	return e
}
