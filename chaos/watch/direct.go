package watch

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/spockchaos/spockchaos/topology"
)

const (
	// readLimit bounds one look at one node, connecting included: a node that does not
	// answer within it is recorded as silent.
	readLimit = time.Second
	// closeLimit bounds closing a connection to a node that may be gone.
	closeLimit = time.Second
)

// direct is a connection past the links to one node, made anew after it broke.
// Its methods are for one goroutine.
type direct struct {
	node        topology.Node
	application string // application_name
	settings    map[string]string
	conn        *pgx.Conn
	raw         *dialled
}

// use calls f with a connection; limit bounds both, 0 is no limit of its own. When
// f fails the connection is given up: nobody knows what state it was left in.
func (d *direct) use(ctx context.Context, limit time.Duration, f func(context.Context, *pgx.Conn) error) error {
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	if d.conn == nil || d.conn.IsClosed() {
		d.drop()
		if err := d.connect(ctx); err != nil {
			return fmt.Errorf("connect to %s: %w", d.node.Name(), err)
		}
	}
	if err := f(ctx, d.conn); err != nil {
		d.drop()
		return err
	}
	return nil
}

func (d *direct) connect(ctx context.Context) error {
	cfg, err := pgx.ParseConfig(d.node.DSN())
	if err != nil {
		return err
	}
	cfg.RuntimeParams["application_name"] = d.application
	// A query that was given up here must not go on for ever there.
	cfg.RuntimeParams["statement_timeout"] = "60000"
	for k, v := range d.settings {
		cfg.RuntimeParams[k] = v
	}
	raw := &dialled{}
	cfg.DialFunc = raw.dial
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		raw.end()
		return err
	}
	raw.settle()
	d.conn, d.raw = conn, raw
	return nil
}

// drop closes the connection hard: pgx alone would try for 15 seconds to tell a
// node that does not answer that its query is cancelled.
func (d *direct) drop() {
	if d.conn == nil {
		return
	}
	d.raw.end()
	d.finish()
}

// close ends the connection the polite way.
func (d *direct) close() {
	if d.conn == nil {
		return
	}
	d.finish()
	d.raw.end()
}

func (d *direct) finish() {
	ctx, cancel := context.WithTimeout(context.Background(), closeLimit)
	defer cancel()
	_ = d.conn.Close(ctx) // best effort: the server may be gone
	select {
	case <-d.conn.PgConn().CleanupDone():
	case <-ctx.Done():
	}
	d.conn = nil
}

// dialled remembers the sockets of one connection, so that they can be closed
// from outside, and after it is made dials no more (for cancel requests).
type dialled struct {
	mu      sync.Mutex
	settled bool
	conns   []net.Conn
}

var errSettled = errors.New("no further connections")

func (d *dialled) dial(ctx context.Context, network, address string) (net.Conn, error) {
	d.mu.Lock()
	settled := d.settled
	d.mu.Unlock()
	if settled {
		return nil, errSettled
	}
	var dialer net.Dialer
	c, err := dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.conns = append(d.conns, c)
	return c, nil
}

func (d *dialled) settle() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.settled = true
}

func (d *dialled) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.settled = true
	for _, c := range d.conns {
		_ = c.Close() // closed already when the first attempt (TLS) was refused
	}
	d.conns = nil
}
