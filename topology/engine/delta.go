package engine

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// DeltaApplier is an engine that can apply an update of a number as the difference between its new and its old value,
// so that increments of one row on several nodes add up.
type DeltaApplier interface {
	// DeltaColumns makes columns of a table (schema-qualified) such numbers, on the connected node. They must be NOT NULL. To be called
	// on every node, before AddTables; may be called again.
	DeltaColumns(ctx context.Context, c *pgx.Conn, table string, columns []string) error
}
