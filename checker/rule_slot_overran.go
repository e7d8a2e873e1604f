package checker

import (
	"slices"
	"time"

	"github.com/spockchaos/spockchaos/checker/rundir"
)

// slotLost judges wal_status: what the slot should keep is gone, or may be at the next checkpoint.
func slotLost(in *input, c *collector) {
	for node, samples := range in.samples {
		for i := range samples {
			s := &samples[i]
			if !good(s) || s.Slot == nil || s.Slot.WALStatus != "lost" && s.Slot.WALStatus != "unreserved" {
				continue
			}
			c.add(SlotOverran, node, "wal_status", 1, func() example {
				return slotExample(s, map[string]any{"wal_status": s.Slot.WALStatus}, "the recovery slot on %s is %s: WAL that it must keep is not kept", node, s.Slot.WALStatus).
					tell(in, node, s, s.Slot.Confirmed)
			})
		}
	}
}

// slotBeyond judges that no slot stands beyond its node's WAL: from there it shows nothing of what will be written up to it. The end of the WAL is read
// after the slot.
func slotBeyond(in *input, c *collector) {
	for node, samples := range in.samples {
		for i := range samples {
			s := &samples[i]
			if !good(s) || s.Slot == nil {
				continue
			}
			for _, p := range slotPositions() {
				if p.of(s.Slot) > s.FlushLSN {
					c.add(SlotOverran, node, "end of the WAL, "+p.name, 1, func() example {
						return slotExample(s, map[string]any{"position": p.of(s.Slot), "flush_lsn": s.FlushLSN}, "%s of the recovery slot on %s is %s, and its WAL ends at %s: it will show nothing of what is written up to there",
							p.name, node, p.of(s.Slot), s.FlushLSN).tell(in, node, s, p.of(s.Slot))
					})
				}
			}
		}
	}
}

// slotOverran proves from samples that a slot passed a transaction that a peer lacked.
//
// On node me, pg_replication_origin_status says (R, L) of origin o: the transaction that
// ended at R in o's WAL was applied here by a commit that ended at L in this node's WAL.
// A slot at position C ≥ L never shows that commit again. If in a sample that began
// after the one with C was over, peer p's progress for o is still below R, then p lacked that
// transaction when the slot passed it: progress only rises, and what p may lose of it in a
// crash it lacked durably. docs/checker.md says more.
func slotOverran(in *input, c *collector) {
	for _, me := range in.run.Nodes {
		passed := passedBy(in.samples[me])
		for _, p := range in.run.Nodes {
			if p == me {
				continue
			}
			lostAt := time.Time{}
			if in.round.Kind == rundir.KindLoss && p == in.round.Failed {
				lostAt = in.round.LostAt
			}
			samples := in.samples[p]
			for o, steps := range passed {
				if o != p {
					overrun(in, c, me, p, o, steps, samples, lostAt)
				}
			}
		}
	}
}

// passing says that from a time on a slot had certainly passed the transaction Remote of an origin.
type passing struct {
	at     *rundir.Sample // showed position C
	origin *rundir.Sample // showed (Remote, Local), Local ≤ C
	remote rundir.LSN
	local  rundir.LSN
}

// passedBy lists, by origin, what a node's slot had passed and when, with rising remotes.
func passedBy(samples []rundir.Sample) map[string][]passing {
	waiting := make(map[string][]passing) // pairs not yet passed, rising
	var last *rundir.Sample
	var flushed rundir.LSN // in the epoch
	firstRemote := make(map[string]rundir.LSN)
	out := make(map[string][]passing)
	for i := range samples {
		s := &samples[i]
		if !good(s) {
			continue
		}
		if last != nil && !last.Epoch.Equal(s.Epoch) {
			// A local commit that was not seen flushed may be lost in a crash, and its position
			// used again. Within one start of the server a slot only reaches what is flushed.
			for node, next := range waiting {
				waiting[node] = slices.DeleteFunc(next, func(x passing) bool { return x.local > flushed })
			}
			flushed = 0
		}
		last, flushed = s, max(flushed, s.FlushLSN)
		for _, x := range s.Origins {
			first, known := firstRemote[x.Node]
			if !known {
				// Where a subscription began is not a transaction that was applied.
				firstRemote[x.Node] = x.Remote
				continue
			}
			if x.Local == 0 || x.Remote <= first {
				continue
			}
			next := waiting[x.Node]
			if k := len(next) - 1; k < 0 || x.Remote > next[k].remote && x.Local > next[k].local {
				waiting[x.Node] = append(next, passing{origin: s, remote: x.Remote, local: x.Local})
			}
		}
		if !hasSlot(s) {
			continue
		}
		for node, next := range waiting {
			k := 0
			for k < len(next) && next[k].local <= s.Slot.Confirmed {
				k++
			}
			if k > 0 {
				x := next[k-1]
				x.at = s
				out[node] = append(out[node], x)
				waiting[node] = next[k:]
			}
		}
	}
	return out
}

// overrun reports each sample of p that lacks what the slot of me had passed before it.
func overrun(in *input, c *collector, me, p, origin string, steps []passing, samples []rundir.Sample, lostAt time.Time) {
	k := 0
	for i := range samples {
		s := &samples[i]
		if !good(s) || !lostAt.IsZero() && !s.End.Before(lostAt) {
			continue
		}
		for k < len(steps) && !steps[k].at.End.After(s.At) {
			k++
		}
		if k == 0 {
			continue
		}
		j := slices.IndexFunc(s.Origins, func(x rundir.Origin) bool { return x.Node == origin })
		if j < 0 || s.Origins[j].Remote == 0 || s.Origins[j].Remote >= steps[k-1].remote {
			continue
		}
		x, have := steps[k-1], s.Origins[j].Remote
		c.add(SlotOverran, me, "progress of "+p+" for "+origin, 1, func() example {
			e := example{key: slotKey(x.at), from: x.at.At, to: s.End, details: map[string]any{
				"position": x.at.Slot.Confirmed, "position_at": x.at.At, "local_lsn": x.local, "remote_lsn": x.remote, "origin_at": x.origin.At,
				"peer": p, "origin": origin, "peer_progress": have, "peer_progress_at": s.At,
			}, summary: "the recovery slot on " + me + " stood at " + x.at.Slot.Confirmed.String() + ", past the transaction of " + origin + " at " + x.remote.String() +
				", while " + p + " had only reached " + have.String()}
			return e.tell(in, me, x.at, x.at.Slot.Confirmed)
		})
	}
}
