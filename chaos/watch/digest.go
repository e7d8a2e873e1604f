package watch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// tablesCount is how many tables the workload has.
const tablesCount = 9

// TableProgress is a cheap measure of one table: nodes that differ in it differ in
// the table; nodes that agree in it may still differ.
type TableProgress struct {
	Rows  int64
	Tally int64 // sum over the rows of a number that depends on the row
}

// Progress holds one TableProgress per table, in the order of rundir.Tables (a row file that shows the same table again has none).
// Values are compared with ==.
type Progress [tablesCount]TableProgress

// ReadProgress measures the connected node's tables in one statement, a few tens of
// milliseconds for 300,000 rows.
func ReadProgress(ctx context.Context, conn *pgx.Conn) (Progress, error) {
	var p Progress
	rows, err := conn.Query(ctx, ofEach(func(t table) string { return fmt.Sprintf("count(*), COALESCE(sum(%s), 0)::bigint", t.tally) }))
	if err != nil {
		return p, fmt.Errorf("count the tables' rows: %w", err)
	}
	var i int
	var t TableProgress
	if _, err = pgx.ForEachRow(rows, []any{&i, &t.Rows, &t.Tally}, func() error { p[i] = t; return nil }); err != nil {
		return p, fmt.Errorf("count the tables' rows: %w", err)
	}
	return p, nil
}

// ofEach is a query for what of every table, after the table's place in rundir.Tables.
func ofEach(what func(t table) string) string {
	var parts []string
	for i, t := range tables() {
		if t.content != "" {
			parts = append(parts, fmt.Sprintf("SELECT %d, %s FROM chaos.%s", i, what(t), t.name))
		}
	}
	return strings.Join(parts, " UNION ALL ") + " ORDER BY 1"
}

// digests are the tables' digests, in the order of rundir.Tables.
type digests [tablesCount]string

// readDigests hashes each table's rows on the server and adds the hashes up: equal
// contents give equal digests, in whatever order the rows lie, and a row that is
// there twice counts twice. The sum is exact (numeric) and does not wrap.
func readDigests(ctx context.Context, conn *pgx.Conn) (digests, error) {
	var d digests
	rows, err := conn.Query(ctx, ofEach(func(t table) string {
		return fmt.Sprintf("count(*) || ' ' || COALESCE(sum(hashtextextended(%s, 0)), 0)", t.content)
	}))
	if err != nil {
		return d, fmt.Errorf("digest the tables: %w", err)
	}
	var i int
	var s string
	if _, err = pgx.ForEachRow(rows, []any{&i, &s}, func() error { d[i] = s; return nil }); err != nil {
		return d, fmt.Errorf("digest the tables: %w", err)
	}
	return d, nil
}

// Digest is one hash over everything that the connected node's tables hold. Nodes
// with the same contents have the same digest, whatever their PostgreSQL versions.
func Digest(ctx context.Context, conn *pgx.Conn) (string, error) {
	d, err := readDigests(ctx, conn)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(strings.Join(d[:], "\n")))
	return hex.EncodeToString(sum[:]), nil
}
