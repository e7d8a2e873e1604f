package chaos

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"github.com/spockchaos/spockchaos/topology"
	"github.com/spockchaos/spockchaos/topology/engine"
)

// managerCallLimit bounds one call of the manager function. The function itself
// waits for a silent peer no longer than its own, shorter limit.
const managerCallLimit = 15 * time.Second

// Manager plays the part of the manager worker on one node: it calls
// spock.advance_recovery_slot_to_min_position() every period, on the node itself.
type Manager struct {
	Node   topology.Node
	Period time.Duration
	Log    *zap.Logger
	calls  atomic.Int64
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
		conn = m.call(ctx, conn)
	}
}

// call makes one call and returns the connection to use next time, nil if it broke.
func (m *Manager) call(ctx context.Context, conn *pgx.Conn) *pgx.Conn {
	ctx, cancel := context.WithTimeout(ctx, managerCallLimit)
	defer cancel()
	if conn == nil {
		c, err := pgx.Connect(ctx, m.Node.DSN())
		if err != nil {
			m.Log.Debug("manager: cannot reach its node", zap.String("node", m.Node.Name()), zap.Error(err))
			return nil
		}
		conn = c
	}
	if _, err := conn.Exec(ctx, "SELECT spock.advance_recovery_slot_to_min_position()"); err != nil {
		if ctx.Err() == nil {
			m.Log.Debug("manager: call failed", zap.String("node", m.Node.Name()), zap.Error(err))
		}
		if conn.IsClosed() {
			return nil
		}
		return conn
	}
	m.calls.Add(1)
	return conn
}
