package remote

import (
	"time"

	"github.com/spockchaos/spockchaos/topology/link"
)

// The control API. Bodies are JSON; an answer that is no success has an errorBody.
//
//	GET  /links                             []linkBody
//	GET  /links/{from}/{to}/stats           statsBody
//	GET  /links/{from}/{to}/gates/{d}       gateBody; d is upstream or downstream
//	PUT  /links/{from}/{to}/gates/{d}       swapBody; 409 if the gate is no longer as it was seen
//	PUT  /links/{from}/{to}/refuse          onBody
//	PUT  /links/{from}/{to}/hold            onBody
//	POST /links/{from}/{to}/heal
//	POST /links/{from}/{to}/reset           resetBody
type (
	errorBody struct {
		Error string `json:"error"`
	}
	linkBody struct {
		From   string `json:"from"`
		To     string `json:"to"`
		Listen string `json:"listen"` // as the process that holds it sees it
	}
	onBody struct {
		On bool `json:"on"`
	}
	resetBody struct {
		Connections int `json:"connections"`
	}
	// gateBody is a link.Gate.
	gateBody struct {
		Stall    bool          `json:"stall"`
		Latency  time.Duration `json:"latency_ns"`
		Jitter   time.Duration `json:"jitter_ns"`
		Rate     int64         `json:"rate"`
		CutAfter int64         `json:"cut_after"`
	}
	// swapBody sets a gate if it is still as it was seen. Of a cut, bytes may have been spent since: they are taken off the cut that
	// is set. A cut that has acted since makes it another gate.
	swapBody struct {
		Seen gateBody `json:"seen"`
		Set  gateBody `json:"set"`
	}
	// statsBody is a link.Stats.
	statsBody struct {
		Open      int64         `json:"open"`
		Accepted  int64         `json:"accepted"`
		Refused   int64         `json:"refused"`
		Cut       int64         `json:"cut"`
		UpBytes   int64         `json:"up_bytes"`
		DownBytes int64         `json:"down_bytes"`
		HeldUp    int64         `json:"held_up"`
		HeldDown  int64         `json:"held_down"`
		Delayed   int64         `json:"delayed"`
		Throttled time.Duration `json:"throttled_ns"`
		Delay     time.Duration `json:"delay_ns"`
	}
)

// swap changes the gate of a direction as a swapBody says. false: it is no longer as it was seen.
func swap(l *link.Link, d link.Direction, b swapBody) (done bool) {
	seen, set := link.Gate(b.Seen), link.Gate(b.Set)
	l.Update(d, func(now link.Gate) link.Gate {
		spent := seen.CutAfter - now.CutAfter
		same := now
		same.CutAfter = seen.CutAfter
		done = same == seen && (now.CutAfter > 0) == (seen.CutAfter > 0) && spent >= 0
		if !done {
			return now
		}
		if set.CutAfter > 0 {
			set.CutAfter = max(1, set.CutAfter-spent)
		}
		return set
	})
	return done
}
