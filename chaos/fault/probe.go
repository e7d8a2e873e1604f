package fault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"
)

// sslRequest is the first message of a client that asks for TLS. Every PostgreSQL server
// answers it with one byte before any authentication, so it measures a round trip to the
// server behind a link without credentials. The connection is closed after it.
var sslRequest = [...]byte{0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f}

// errSilent: the connection stands and nothing came back in time.
var errSilent = errors.New("no answer")

// probe sends one request to addr and returns how long the answer took. The error
// is errSilent if the connection was accepted and stayed silent for limit.
func probe(ctx context.Context, addr string, limit time.Duration) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	c, err := dial(ctx, addr)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	return ask(c)
}

// dial opens a connection whose reads and writes end with ctx's deadline.
func dial(ctx context.Context, addr string) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", addr, err)
	}
	if deadline, ok := ctx.Deadline(); ok {
		if err := c.SetDeadline(deadline); err != nil {
			c.Close()
			return nil, fmt.Errorf("dial %s: %w", addr, err)
		}
	}
	return c, nil
}

// ask sends the request on c and waits for the answer until c's deadline.
func ask(c net.Conn) (time.Duration, error) {
	began := time.Now()
	if _, err := c.Write(sslRequest[:]); err != nil {
		return 0, fmt.Errorf("probe %s: %w", c.RemoteAddr(), err)
	}
	var answer [1]byte
	if _, err := io.ReadFull(c, answer[:]); err != nil {
		if isTimeout(err) {
			return 0, errSilent
		}
		return 0, fmt.Errorf("probe %s: connection ended without an answer: %w", c.RemoteAddr(), err)
	}
	return time.Since(began), nil
}

// medianProbe is the middle of n round trips.
func medianProbe(ctx context.Context, addr string, n int, limit time.Duration) (time.Duration, error) {
	var took []time.Duration
	for range n {
		t, err := probe(ctx, addr, limit)
		if err != nil {
			return 0, err
		}
		took = append(took, t)
	}
	slices.Sort(took)
	return took[len(took)/2], nil
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// rootCause is the innermost error's text: addresses and operations left out.
func rootCause(err error) string {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err.Error()
		}
		err = inner
	}
}
