package fault

import "github.com/spockchaos/spockchaos/topology/link"

// passed are the bytes that a link has let through in a direction.
func passed(s link.Stats, d link.Direction) int64 {
	if d == link.Upstream {
		return int64(s.UpBytes)
	}
	return int64(s.DownBytes)
}

// held are the bytes that a link holds in a direction now.
func held(s link.Stats, d link.Direction) int64 {
	if d == link.Upstream {
		return int64(s.HeldUp)
	}
	return int64(s.HeldDown)
}

// cuts are the connections that a link's gates have closed after CutAfter bytes.
func cuts(s link.Stats) int64 { return int64(s.Cut) }
