package chaos

import (
	"testing"
	"time"

	"github.com/spockchaos/spockchaos/checker/rundir"
)

func TestRateMeter(t *testing.T) {
	var m rateMeter
	at := time.Unix(100, 0)
	for i, step := range []struct {
		after time.Duration
		count int64
		want  float64
	}{
		{0, 500, 0},             // the first look knows no rate
		{time.Second, 700, 200}, //
		{2 * time.Second, 700, 0},
		{time.Second, 50, 0}, // a new round counts from the beginning
		{time.Second / 2, 100, 100},
		{0, 100, 0}, // no time has passed
	} {
		at = at.Add(step.after)
		if got := m.next(at, step.count); got != step.want {
			t.Errorf("step %d: %v, want %v", i, got, step.want)
		}
	}
}

func TestLagOf(t *testing.T) {
	origin := func(node string, remote rundir.LSN) rundir.Origin { return rundir.Origin{Node: node, Remote: remote} }
	lag := lagOf(map[string]rundir.Sample{
		"n1": {FlushLSN: 1000, Origins: []rundir.Origin{origin("n2", 480)}},
		"n2": {FlushLSN: 500, Origins: []rundir.Origin{origin("n1", 900), origin("n4", 1)}},
		"n3": {FlushLSN: 70, Origins: []rundir.Origin{origin("n1", 400), origin("n2", 600)}}, // read later than n2 was
		"n4": {Error: "down", FlushLSN: 5000},
	})
	if lag["n1"] != 600 || lag["n2"] != 20 || lag["n3"] != 0 || lag["n4"] != 0 {
		t.Errorf("%v", lag)
	}
}
