package engine

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// Discarder is an engine that gives transactions up by design when it cannot apply them, and says which.
type Discarder interface {
	// Discards are the rows that transactions which the connected node gave up would have inserted into a table, in the order in which that was
	// logged.
	Discards(ctx context.Context, c *pgx.Conn, schema, table string, each func(Discard) error) error
}

// Discard is a row that was not inserted.
type Discard struct {
	Source      string // where the engine says so
	Origin      string // the node that the transaction came from
	XID         int64  // of the transaction, on that node
	CommittedAt time.Time
	LoggedAt    time.Time
	Error       string // why the transaction was given up
	Row         map[string]any
}
