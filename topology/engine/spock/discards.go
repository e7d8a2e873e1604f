package spock

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/spockchaos/spockchaos/topology/engine"
)

// discardsSQL joins each logged row with the error for which its transaction was given up: with
// spock.exception_behaviour = transdiscard, the default, the other rows' entries say only that they were discarded with it.
const discardsSQL = `
SELECT coalesce(n.node_name::text, e.remote_origin::text), e.remote_xid, e.remote_commit_ts, e.retry_errored_at,
       coalesce((SELECT f.operation || ' ' || f.table_name || ': ' || f.error_message FROM spock.exception_log f
                  WHERE (f.remote_origin, f.remote_commit_ts, f.remote_xid) = (e.remote_origin, e.remote_commit_ts, e.remote_xid)
                    AND f.error_message NOT LIKE 'transdiscard:%'
                  ORDER BY f.retry_errored_at, f.command_counter LIMIT 1), e.error_message),
       (SELECT jsonb_object_agg(c ->> 'attname', c -> 'value') FROM jsonb_array_elements(e.remote_new_tup) c)
  FROM spock.exception_log e LEFT JOIN spock.node n ON n.node_id = e.remote_origin
 WHERE e.operation = 'INSERT' AND e.table_schema = $1 AND e.table_name = $2 AND jsonb_typeof(e.remote_new_tup) = 'array'
 ORDER BY e.retry_errored_at`

// Discards reads spock.exception_log.
func (Engine) Discards(ctx context.Context, c *pgx.Conn, schema, table string, each func(engine.Discard) error) error {
	rows, err := c.Query(ctx, discardsSQL, schema, table)
	if err != nil {
		return fmt.Errorf("reading spock.exception_log: %w", err)
	}
	d := engine.Discard{Source: "spock.exception_log"}
	_, err = pgx.ForEachRow(rows, []any{&d.Origin, &d.XID, &d.CommittedAt, &d.LoggedAt, &d.Error, &d.Row}, func() error {
		found := d
		d.Row = nil
		return each(found)
	})
	if err != nil {
		return fmt.Errorf("reading spock.exception_log: %w", err)
	}
	return nil
}
