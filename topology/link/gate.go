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

// Gate is what a link does to the bytes of one direction. The zero value passes everything.
type Gate struct {
	// Stall holds all bytes, losing none; healing lets them through.
	Stall bool
	// Latency delays each chunk by Latency ± Jitter, drawn from the link's seeded source; order is kept.
	Latency time.Duration
	Jitter  time.Duration
	// Rate limits to this many bytes a second; 0 is no limit.
	Rate int64
	// CutAfter closes the connection after this many more bytes; 0 is never. It acts once per setting.
	CutAfter int64
}
