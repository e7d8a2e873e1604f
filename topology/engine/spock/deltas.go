package spock

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// DeltaColumns sets both options that Spock's documentation asks for: log_old_value has updates carry the old value, and
// delta_apply_function is what a subscriber calls with the old, the new and its own one.
func (Engine) DeltaColumns(ctx context.Context, c *pgx.Conn, table string, columns []string) error {
	for _, column := range columns {
		_, err := c.Exec(ctx, fmt.Sprintf("ALTER TABLE %s ALTER COLUMN %s SET (log_old_value = true, delta_apply_function = spock.delta_apply)",
			table, pgx.Identifier{column}.Sanitize()))
		if err != nil {
			return fmt.Errorf("making column %s of %s one that is applied by differences: %w", column, table, err)
		}
	}
	return nil
}
