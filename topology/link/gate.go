package link

import "time"

// Direction of the bytes in a link. A link is dialled by its From end.
type Direction int

const (
	// Upstream: from the dialling end to the server (Toxiproxy's word).
	Upstream Direction = iota
	// Downstream: from the server back.
	Downstream
)

// String is "upstream" or "downstream", as Toxiproxy spells them.
func (d Direction) String() string {
	if d == Downstream {
		return "downstream"
	}
	return "upstream"
}

// Gate is what a link does to the bytes of one direction. The zero value passes everything.
type Gate struct {
	// Stall holds all bytes, losing none; healing lets them through.
	Stall bool
	// Latency delays each chunk by Latency ± Jitter, drawn from the link's seeded source; order is kept.
	Latency time.Duration
	Jitter  time.Duration
	// Rate limits to this many bytes a second, over all connections of the link; 0 is no limit.
	Rate int64
	// CutAfter closes the connection after this many more bytes; 0 is never. It acts once per setting.
	CutAfter int64
}

// open says that the gate does nothing at all to the bytes.
func (g Gate) open() bool { return g == Gate{} }

// maxLatency is as good as for ever, and far from what a duration can hold.
const maxLatency = 24 * time.Hour

// sane takes the meaningless out of a gate: negative values count as none.
func (g Gate) sane() Gate {
	g.Latency = min(max(g.Latency, 0), maxLatency)
	g.Jitter = min(max(g.Jitter, 0), maxLatency)
	g.Rate = max(g.Rate, 0)
	g.CutAfter = max(g.CutAfter, 0)
	return g
}
