package fault

import "github.com/spockchaos/spockchaos/topology/link"

// passed are the bytes that a link has let through in a direction.
func passed(s link.Stats, d link.Direction) int64 {
	if d == link.Upstream {
		return s.UpBytes
	}
	return s.DownBytes
}

// held are the bytes that a link holds in a direction now.
func held(s link.Stats, d link.Direction) int64 {
	if d == link.Upstream {
		return s.HeldUp
	}
	return s.HeldDown
}
