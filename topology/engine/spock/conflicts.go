package spock

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/spockchaos/spockchaos/topology/engine"
)

// savedSQL reads spock.resolutions, of 5 and of 6, and spock.exception_log of a node that discards single changes (spock.exception_behaviour =
// discard). Where whole transactions are discarded, the log's rows are about transactions that are not there at all: Discards tells of them.
const savedSQL = `
SELECT 'spock.resolutions', log_time, relname, split_part(conflict_type, '_', 1), conflict_resolution, '',
       remote_tuple, remote_origin::bigint, remote_timestamp, local_tuple, local_origin::bigint, local_timestamp
  FROM spock.resolutions
 WHERE split_part(relname, '.', 1) = quote_ident($1)
UNION ALL
SELECT 'spock.exception_log', retry_errored_at, quote_ident(table_schema) || '.' || quote_ident(table_name), lower(operation), 'discard', error_message,
       (SELECT jsonb_object_agg(c ->> 'attname', c -> 'value') FROM jsonb_array_elements(changed) c)::text,
       remote_origin::bigint, remote_commit_ts, NULL, NULL, NULL
  FROM spock.exception_log, LATERAL (SELECT CASE operation WHEN 'DELETE' THEN remote_old_tup ELSE remote_new_tup END) AS t(changed)
 WHERE table_schema = $1 AND operation IN ('INSERT', 'UPDATE', 'DELETE') AND jsonb_typeof(changed) = 'array'
   AND current_setting('spock.exception_behaviour') = 'discard'
 ORDER BY 2`

// SavedConflicts reads spock.resolutions, and spock.exception_log where it is about single rows.
func (Engine) SavedConflicts(ctx context.Context, c *pgx.Conn, schema string, origins engine.Origins, each func(engine.Conflict) error) error {
	rows, err := c.Query(ctx, savedSQL, schema)
	if err != nil {
		return fmt.Errorf("reading spock.resolutions: %w", err)
	}
	var (
		found                     engine.Conflict
		reason                    string
		remote, local             *string
		remoteOrigin, localOrigin *int64
		remoteTime, localTime     *time.Time
	)
	_, err = pgx.ForEachRow(rows, []any{&found.Source, &found.LoggedAt, &found.Table, &found.Operation, &found.Resolution, &reason,
		&remote, &remoteOrigin, &remoteTime, &local, &localOrigin, &localTime}, func() (err error) {
		k := found
		if k.Remote, err = version(remote, remoteOrigin, remoteTime, origins); err != nil {
			return err
		}
		k.Local = nil
		if local != nil {
			v, err := version(local, localOrigin, localTime, origins)
			if err != nil {
				return err
			}
			k.Local = &v
		}
		k.Text = describe(&k, reason)
		return each(k)
	})
	if err != nil {
		return fmt.Errorf("reading spock.resolutions: %w", err)
	}
	return nil
}

// LoggedConflicts are those of the server log that spock.resolutions never has: updates that took the place of another node's row and, of version 6,
// updates that did not. The log also has what was rolled back with its transaction; the table has not, and counts where it has anything to say.
func (e Engine) LoggedConflicts(log io.Reader, origins engine.Origins, each func(engine.Conflict) error) (unread int, err error) {
	return e.Engine.LoggedConflicts(log, origins, func(c engine.Conflict) error {
		if c.Operation != engine.Update || c.Resolution != engine.ApplyRemote && strings.HasPrefix(c.Text, "CONFLICT: remote UPDATE ") {
			return nil
		}
		return each(c)
	})
}

// version reads a row (JSON) with its origin and commit timestamp; nil is what is not known.
func version(row *string, origin *int64, at *time.Time, origins engine.Origins) (v engine.Version, err error) {
	if row != nil {
		if v.Columns, err = integers(*row); err != nil {
			return v, err
		}
	}
	if origin != nil {
		v.Origin = origins[*origin]
	}
	if at != nil {
		v.CommittedAt = at.UTC()
	}
	return v, nil
}

// integers are the whole numbers of a row. They may be larger than what a float64 holds exactly.
func integers(row string) (map[string]int64, error) {
	var all map[string]any
	d := json.NewDecoder(strings.NewReader(row))
	d.UseNumber()
	if err := d.Decode(&all); err != nil {
		return nil, fmt.Errorf("a saved row is no JSON object: %w", err)
	}
	columns := map[string]int64{}
	for name, value := range all {
		if number, is := value.(json.Number); is {
			if n, err := strconv.ParseInt(number.String(), 10, 64); err == nil {
				columns[name] = n
			}
		}
	}
	return columns, nil
}

// describe is an entry of a table in one line. Texts are left out.
func describe(c *engine.Conflict, reason string) string {
	if reason != "" {
		return fmt.Sprintf("%s of %s by %s was discarded: %s", c.Operation, c.Table, describeVersion(&c.Remote), reason)
	}
	text := fmt.Sprintf("%s of %s by %s: %s", c.Operation, c.Table, describeVersion(&c.Remote), c.Resolution)
	if c.Local == nil {
		return text + "; there was no such row"
	}
	return text + "; the row that was there: " + describeVersion(c.Local)
}

func describeVersion(v *engine.Version) string {
	var b strings.Builder
	if v.Origin == "" {
		b.WriteString("an unknown node")
	}
	b.WriteString(v.Origin)
	if !v.CommittedAt.IsZero() {
		b.WriteString(" at " + v.CommittedAt.Format(time.RFC3339Nano))
	}
	b.WriteString(" {")
	for i, name := range slices.Sorted(maps.Keys(v.Columns)) {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s: %d", name, v.Columns[name])
	}
	return b.String() + "}"
}
