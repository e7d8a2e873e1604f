package checker

import (
	"fmt"
	"slices"
	"time"

	"github.com/spockchaos/spockchaos/checker/rundir"
)

// good says whether a sample was read at all.
func good(s *rundir.Sample) bool { return s.Error == "" }

// hasSlot says whether a sample shows a recovery slot that keeps WAL.
func hasSlot(s *rundir.Sample) bool { return good(s) && s.Slot != nil && s.Slot.Restart != 0 }

// slotKey names a slot in a finding.
func slotKey(s *rundir.Sample) string {
	if s.Slot == nil {
		return "slot"
	}
	return "slot " + s.Slot.Name
}

// epochs cuts a node's good samples where the server was started anew.
func epochs(samples []rundir.Sample) [][]rundir.Sample {
	var out [][]rundir.Sample
	for i := range samples {
		if !good(&samples[i]) {
			continue
		}
		k := len(out) - 1
		if k < 0 || !out[k][0].Epoch.Equal(samples[i].Epoch) {
			out = append(out, nil)
			k++
		}
		out[k] = append(out[k], samples[i])
	}
	return out
}

// summarise fills in what the samples say of each node's slot, but for FellBack.
func summarise(in *input, slots map[string]*SlotSummary) {
	for _, node := range in.run.Nodes {
		slots[node] = &SlotSummary{}
	}
	for node, samples := range in.samples {
		sum := slots[node]
		if sum == nil {
			sum = &SlotSummary{}
			slots[node] = sum
		}
		var last rundir.LSN
		for i := range samples {
			s := &samples[i]
			if good(s) {
				sum.Samples++
			}
			if !hasSlot(s) {
				continue
			}
			if last != 0 && s.Slot.Confirmed > last {
				sum.Advances++
			}
			last = s.Slot.Confirmed
			sum.MaxRetained = max(sum.MaxRetained, s.Slot.Retained)
		}
	}
}

// cleanStop says whether a node was shut down cleanly, and in no other way, between two times.
func cleanStop(in *input, node string, from, to time.Time) bool {
	clean := false
	for _, e := range in.events {
		if e.Node != node || e.At.Before(from) || e.At.After(to) {
			continue
		}
		switch e.Kind {
		case rundir.EventStopped:
			clean = true
		case rundir.EventKill, rundir.EventImmediate, rundir.EventLose:
			return false
		}
	}
	return clean
}

func slotExample(s *rundir.Sample, details map[string]any, format string, args ...any) example {
	return example{key: slotKey(s), summary: fmt.Sprintf(format, args...), details: details, from: s.At, to: s.End}
}

// lastGood is the last sample that was read, nil if there is none.
func lastGood(samples []rundir.Sample) *rundir.Sample {
	for i := len(samples) - 1; i >= 0; i-- {
		if good(&samples[i]) {
			return &samples[i]
		}
	}
	return nil
}

// before are the samples that began by a time.
func before(samples []rundir.Sample, t time.Time) []rundir.Sample {
	i := slices.IndexFunc(samples, func(s rundir.Sample) bool { return s.At.After(t) })
	if i < 0 {
		return samples
	}
	return samples[:i]
}
