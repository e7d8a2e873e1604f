package fault

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/spockchaos/spockchaos/topology/link"
)

// Names of parameters, as reports show them.
const (
	paramLatency   = "latency_ms"
	paramJitter    = "jitter_ms"
	paramRate      = "bytes_per_second"
	paramBytes     = "bytes"
	paramDirection = "direction"
	paramEvery     = "every_ms"
	paramClients   = "clients"
	paramOffset    = "offset_ms"
)

// Values of the parameter direction, seen from the link's dialling end.
const (
	directionUp   = "up"   // from the dialling end (subscriber, client) to the server
	directionDown = "down" // from the server to the dialling end: WAL, results
	directionBoth = "both"
)

// positive reads a number that must be in (0, max].
func positive(p Params, key string, most float64) (float64, error) {
	v, ok := p[key].(float64)
	if !ok || math.IsNaN(v) || v <= 0 || v > most {
		return 0, fmt.Errorf("parameter %s is %v, must be a number above 0, at most %g", key, p[key], most)
	}
	return v, nil
}

// millis reads a number of milliseconds, at most an hour.
func millis(p Params, key string) (time.Duration, error) {
	v, err := positive(p, key, 3600_000)
	return time.Duration(v * float64(time.Millisecond)), err
}

func flag(p Params, key string) (bool, error) {
	v, ok := p[key].(bool)
	if !ok {
		return false, fmt.Errorf("parameter %s is %v, must be true or false", key, p[key])
	}
	return v, nil
}

func directions(p Params) ([]link.Direction, error) {
	switch p[paramDirection] {
	case directionUp:
		return []link.Direction{link.Upstream}, nil
	case directionDown:
		return []link.Direction{link.Downstream}, nil
	case directionBoth:
		return []link.Direction{link.Upstream, link.Downstream}, nil
	}
	return nil, fmt.Errorf("parameter %s is %v, must be up, down or both", paramDirection, p[paramDirection])
}

// between draws a whole number in [low, high].
func between(r *rand.Rand, low, high int) float64 { return float64(low + r.IntN(high-low+1)) }

func oneOf(r *rand.Rand, values ...string) string { return values[r.IntN(len(values))] }
