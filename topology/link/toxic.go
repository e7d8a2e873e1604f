package link

import (
	"sync"
	"time"

	"github.com/Shopify/toxiproxy/v2/toxics"
	"github.com/rs/zerolog"
)

// toxicType is the name under which Toxiproxy knows our gate.
const toxicType = "spockchaos_gate"

// gateName is what Toxiproxy calls the gate of a direction.
func gateName(d Direction) string { return "gate_" + d.String() }

// maxHeld is how many bytes one direction of one connection may hold back. Beyond
// it the gate stops reading and TCP slows the sender, as on a long line. It
// has to cover rate × latency, or latency would throttle.
const maxHeld = 4 << 20

// pieceTime is the time that one piece of a throttled chunk may take, so that a
// large chunk neither arrives in one burst nor outlives a change of the rate.
const pieceTime = 20 * time.Millisecond

// register tells Toxiproxy of our toxic. Toxiproxy keeps its toxics in one map
// for the whole program and makes instances by type name out of it; there is no
// other way in. So it is written exactly once, whatever number of sets exists.
var register = sync.OnceFunc(func() {
	toxics.Register(toxicType, new(gateToxic))
	zerolog.SetGlobalLevel(zerolog.Disabled) // some toxics trace to stderr by the global logger
})

// gateToxic is one direction of one link. Toxiproxy makes it by reflection, from
// its type alone; Set.New gives it the valve before the first connection.
type gateToxic struct {
	valve *valve
	// next is the connection that Link.start is starting, under its lock: Toxiproxy asks
	// for a state in the middle of StartLink and says not for whom.
	next *conn
}

// NewState makes the flow of one connection; Toxiproxy keeps it on the stub.
func (t *gateToxic) NewState() any { return &flow{valve: t.valve, conn: t.next} }

// Pipe is run by Toxiproxy in one goroutine per connection and direction. It ends when
// the sender's end of file was passed on, or when the connection was broken.
func (t *gateToxic) Pipe(stub *toxics.ToxicStub) {
	f := stub.State.(*flow)
	if f.run(stub) {
		f.conn.flows.Done()
	}
}
