package link

import (
	"errors"
	"io"
	"net"
	"sync"
)

// conn is one open connection of a link: two sockets and a flow in each direction.
type conn struct {
	link   *Link
	broken chan struct{} // closed when the connection is given up, whatever is still held

	mu       sync.Mutex
	client   *net.TCPConn
	server   *net.TCPConn // nil until dialled
	isBroken bool
	hard     bool          // one end failed or was cut: close instead of half-closing
	closed   [2]bool       // direction d's receiving end was closed by Toxiproxy's writer
	done     chan struct{} // closed with the second of them

	flows sync.WaitGroup // both, while they run
	gone  chan struct{}  // closed when the link has forgotten the connection
}

// sender and receiver are the sockets at the two ends of a direction.
func (c *conn) sender(d Direction) *net.TCPConn {
	if d == Upstream {
		return c.client
	}
	return c.server
}

func (c *conn) receiver(d Direction) *net.TCPConn { return c.sender(1 - d) }

// abort gives the connection up: both ends get a reset, what is held is dropped.
func (c *conn) abort() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isBroken {
		return
	}
	c.isBroken = true
	for _, s := range []*net.TCPConn{c.client, c.server} {
		if s != nil {
			// Errors mean that the socket is closed already, which is what is wanted.
			_ = s.SetLinger(0)
			_ = s.Close()
		}
	}
	close(c.broken)
}

// cut ends the connection in the middle of a stream: nothing more is taken from either
// side, what has passed the gate is still written.
func (c *conn) cut() {
	c.link.cuts.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hard = true
	for _, s := range []*net.TCPConn{c.client, c.server} {
		_ = s.CloseRead()
	}
}

// source is the sending end of a direction, as Toxiproxy reads it.
type source struct {
	c *conn
	d Direction
}

func (s source) Read(p []byte) (int, error) {
	n, err := s.c.sender(s.d).Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.c.mu.Lock()
		s.c.hard = true
		s.c.mu.Unlock()
		err = io.EOF // Toxiproxy would only log it
	}
	return n, err
}

// sink is the receiving end of a direction, as Toxiproxy writes it.
type sink struct {
	c *conn
	d Direction
}

// Write never fails: Toxiproxy's writer would go away and leave whoever comes before it waiting, a toxic
// for ever. So the connection is given up and the rest of the stream is taken and dropped.
func (s sink) Write(p []byte) (int, error) {
	if _, err := s.c.receiver(s.d).Write(p); err != nil {
		s.c.abort()
	}
	return len(p), nil
}

// Close is called by Toxiproxy's writer when its direction is at an end. An orderly end of file
// closes that direction alone, so that an answer under way in the other still arrives.
func (s sink) Close() error {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed[s.d] {
		return nil
	}
	c.closed[s.d] = true
	switch {
	case c.isBroken:
	case c.closed[1-s.d] || c.hard:
		_ = c.client.Close()
		_ = c.server.Close()
	default:
		_ = c.receiver(s.d).CloseWrite()
	}
	if c.closed[0] && c.closed[1] {
		close(c.done)
	}
	return nil
}
