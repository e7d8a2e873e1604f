package chaos

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/topology/engine"
	"github.com/spockchaos/spockchaos/topology/server"
)

// managerCallLimit bounds one call of the manager function. The function itself
// waits for a silent peer no longer than its own, shorter limit.
const managerCallLimit = 15 * time.Second

// Manager plays the part of the manager worker on one node: it calls
// spock.advance_recovery_slot_to_min_position() every period, on the node itself.
type Manager struct {
	Name   string // of the node
	DSN    string
	Period time.Duration
	Log    *zap.Logger
	// Report is told what each call came to, from the manager's goroutine; nil for nobody. For its sake the slot is looked at after each call.
	Report func(Advance)
	calls  atomic.Int64
}

// Advance is what one call came to.
type Advance struct {
	Node     string
	Err      error // the node does not answer, or the function failed
	Position rundir.LSN
	Retained int64  // bytes of WAL that the slot keeps
	HeldBy   string // what kept the slot from going further, "" for nothing
}

// Calls is how many calls have returned without error so far.
func (m *Manager) Calls() int64 { return m.calls.Load() }

// Run calls the function until ctx is done. A node that is down is tried again
// each period: the manager of a real node would be down with it.
func (m *Manager) Run(ctx context.Context) {
	var conn *pgx.Conn
	defer func() { engine.HangUp(conn) }()
	tick := time.NewTicker(m.Period)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		var err error
		if conn, err = m.call(ctx, conn); err != nil && ctx.Err() == nil && m.Report != nil {
			m.Report(Advance{Node: m.Name, Err: err})
		}
	}
}

// call makes one call and returns the connection to use next time, nil if it broke.
func (m *Manager) call(ctx context.Context, conn *pgx.Conn) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, managerCallLimit)
	defer cancel()
	if conn == nil {
		c, err := connect(ctx, m.DSN)
		if err != nil {
			m.Log.Debug("manager: cannot reach its node", zap.String("node", m.Name), zap.Error(err))
			return nil, err
		}
		conn = c
	}
	_, err := conn.Exec(ctx, "SELECT spock.advance_recovery_slot_to_min_position()")
	if err == nil {
		m.calls.Add(1)
		err = m.look(ctx, conn)
	}
	if err != nil {
		if ctx.Err() == nil {
			m.Log.Debug("manager: call failed", zap.String("node", m.Name), zap.Error(err))
		}
		if conn.IsClosed() {
			return nil, err
		}
	}
	return conn, err
}

func connect(ctx context.Context, dsn string) (*pgx.Conn, error) {
	cfg, err := server.ParseDSN(dsn)
	if err != nil {
		return nil, err
	}
	return pgx.ConnectConfig(ctx, cfg)
}

// look tells who wants to know where the slot stands now.
func (m *Manager) look(ctx context.Context, conn *pgx.Conn) error {
	if m.Report == nil {
		return nil
	}
	a := Advance{Node: m.Name}
	var position string
	err := conn.QueryRow(ctx, `SELECT coalesce(confirmed_flush_lsn, '0/0')::text, coalesce(retained_bytes, 0), coalesce(held_by, '') FROM spock.get_recovery_slot_status()`).
		Scan(&position, &a.Retained, &a.HeldBy)
	if err != nil {
		return err
	}
	if a.Position, err = rundir.ParseLSN(position); err != nil {
		return err
	}
	m.Report(a)
	return nil
}
