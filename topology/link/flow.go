package link

import (
	"time"

	"github.com/Shopify/toxiproxy/v2/stream"
	"github.com/Shopify/toxiproxy/v2/toxics"
)

// chunk is data and the times before which no gate passes it (the line is that long) and before which a gate with
// latency does not. Without data it is the sender's end of file, which is held and delayed like any byte.
type chunk struct {
	data       []byte
	there, due time.Time
}

// flow is the bytes of one connection in one direction. It belongs to the goroutine that runs it.
type flow struct {
	valve *valve
	conn  *conn

	queue []chunk
	held  int       // bytes in queue
	last  time.Time // due of the last chunk that was queued: none may overtake it
	ended bool      // the sender's end of file was taken

	interrupted bool

	// The head's first granted bytes may go at grantAt; bought under grantBy.
	granted int
	grantAt time.Time
	grantBy *setting
}

// run passes bytes until the flow is at its end. It returns false when Toxiproxy interrupts it, to run
// it again; what is queued stays then. Nothing here makes Toxiproxy do so, but its contract allows it.
func (f *flow) run(stub *toxics.ToxicStub) (over bool) {
	f.interrupted = false
	for {
		s := f.valve.current.Load()
		var more bool
		if len(f.queue) == 0 && s.gate.open() && f.valve.base == 0 {
			more = f.pass(stub, s)
		} else {
			more = f.hold(stub, s)
		}
		if !more {
			return !f.interrupted
		}
	}
}

// pass is the short way: nothing is queued and the gate is open.
func (f *flow) pass(stub *toxics.ToxicStub, s *setting) bool {
	select {
	case c, ok := <-stub.Input:
		if f.valve.current.Load() != s {
			f.take(c, ok)
			return true
		}
		if !ok {
			stub.Close()
			return false
		}
		select {
		case stub.Output <- c:
			f.valve.bytes.Add(int64(len(c.Data)))
		case <-s.changed:
			f.take(c, ok)
		case <-f.conn.broken:
			return f.abandon(stub)
		case <-stub.Interrupt:
			f.take(c, ok)
			return f.interrupt()
		}
		return true
	case <-f.conn.broken:
		return f.abandon(stub)
	case <-stub.Interrupt:
		return f.interrupt()
	}
}

// hold is the long way: chunks are queued and the head goes when the gate lets it.
func (f *flow) hold(stub *toxics.ToxicStub, s *setting) bool {
	var in <-chan *stream.StreamChunk
	if !f.ended && f.held < maxHeld {
		in = stub.Input
	}
	var out chan<- *stream.StreamChunk
	var head *stream.StreamChunk
	var wake <-chan time.Time
	cut := false

	if n, wait := f.ready(s); wait > 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		wake = t.C
	} else if wait == 0 {
		if f.queue[0].data == nil {
			stub.Close()
			return false
		}
		if n, cut = f.valve.spend(s, n); n == 0 && !cut {
			return true // the gate changed
		}
		if n == 0 { // cut exactly between two chunks
			return f.cut(stub)
		}
		head = &stream.StreamChunk{Data: f.queue[0].data[:n], Timestamp: time.Now()}
		out = stub.Output
		if cut {
			// Its last bytes go out before anything else is looked at.
			select {
			case out <- head:
				f.sent(n)
				return f.cut(stub)
			case <-f.conn.broken:
				return f.abandon(stub)
			}
		}
	}

	select {
	case c, ok := <-in:
		f.take(c, ok)
	case out <- head:
		f.sent(len(head.Data))
	case <-wake:
	case <-s.changed:
	case <-f.conn.broken:
		return f.abandon(stub)
	case <-stub.Interrupt:
		return f.interrupt()
	}
	return true
}

// ready says how many bytes of the head may pass, and in what time: 0 is now, negative is
// not before something changes.
func (f *flow) ready(s *setting) (n int, wait time.Duration) {
	if len(f.queue) == 0 || s.gate.Stall {
		return 0, -1
	}
	head := f.queue[0]
	now := time.Now()
	due := head.there
	if s.gate.Latency > 0 || s.gate.Jitter > 0 {
		due = head.due
	}
	if wait := due.Sub(now); wait > 0 {
		return 0, wait
	}
	n = len(head.data)
	if s.gate.Rate == 0 || n == 0 {
		return n, 0
	}
	if f.granted == 0 || f.grantBy.gate.Rate != s.gate.Rate {
		piece := max(1, int64(float64(s.gate.Rate)*pieceTime.Seconds()))
		f.granted = int(min(int64(n), piece))
		f.grantAt = f.valve.reserve(f.granted, s.gate.Rate, now)
		f.grantBy = s
	}
	return f.granted, max(f.grantAt.Sub(now), 0)
}

// take queues a chunk, or the end of file.
func (f *flow) take(c *stream.StreamChunk, ok bool) {
	there := time.Now().Add(f.valve.base)
	due := there.Add(f.valve.delay(f.valve.current.Load().gate))
	if due.Before(f.last) {
		due = f.last
	}
	f.last = due
	if !ok {
		f.ended = true
		f.queue = append(f.queue, chunk{there: there, due: due})
		return
	}
	if len(c.Data) == 0 {
		return
	}
	f.held += len(c.Data)
	f.valve.held.Add(int64(len(c.Data)))
	f.queue = append(f.queue, chunk{data: c.Data, there: there, due: due})
}

// sent takes n bytes that have passed off the queue.
func (f *flow) sent(n int) {
	f.held -= n
	f.valve.held.Add(-int64(n))
	f.valve.bytes.Add(int64(n))
	f.granted = max(f.granted-n, 0)
	if head := &f.queue[0]; n < len(head.data) {
		head.data = head.data[n:]
		return
	}
	f.granted = 0
	f.queue[0] = chunk{}
	f.queue = f.queue[1:]
	if len(f.queue) == 0 {
		f.queue = nil
	}
}

func (f *flow) interrupt() bool {
	f.interrupted = true
	return false
}

// cut closes the sender's end at once and the other when what has passed is written.
func (f *flow) cut(stub *toxics.ToxicStub) bool {
	f.conn.cut()
	return f.abandon(stub)
}

// abandon drops what is held and takes chunks until the input ends, so that
// Toxiproxy's goroutines before us, which know no way to give up sending, can end. The output is closed
// first, since after a cut it is what closes the sockets; from then on Toxiproxy no longer interrupts.
func (f *flow) abandon(stub *toxics.ToxicStub) bool {
	f.valve.held.Add(-int64(f.held))
	f.held, f.queue = 0, nil
	stub.Close()
	for !f.ended {
		_, ok := <-stub.Input
		f.ended = !ok
	}
	return false
}
