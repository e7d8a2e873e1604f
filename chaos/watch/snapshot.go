package watch

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/jackc/pgx/v5"

	"github.com/spockchaos/spockchaos/checker/rundir"
)

// Snapshot writes the connected node's tables, as they are in one snapshot, to row
// files in dir (rundir.FinalTable of each table; dir is …/final/<node>). Rows are
// streamed: memory does not grow with the tables. A table whose file could not be
// finished has no file.
func Snapshot(ctx context.Context, conn *pgx.Conn, dir string) error {
	return inSnapshot(ctx, conn, func(tx pgx.Tx) error {
		for _, t := range tables() {
			if err := writeTable(ctx, tx, t, filepath.Join(dir, t.name)); err != nil {
				return fmt.Errorf("snapshot of table %s: %w", t.name, err)
			}
		}
		return nil
	})
}

// inSnapshot runs f in a read-only transaction that sees one state, with enough
// memory to sort what has no index.
func inSnapshot(ctx context.Context, conn *pgx.Conn, f func(pgx.Tx) error) error {
	return pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SET LOCAL work_mem = '64MB'`); err != nil {
			return err
		}
		return f(tx)
	})
}

func writeTable(ctx context.Context, tx pgx.Tx, t table, path string) (err error) {
	w, err := rundir.CreateRows(path, t.name)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.Abort())
		}
	}()
	rows, err := tx.Query(ctx, t.rows, pgx.QueryResultFormats{pgx.BinaryFormatCode})
	if err != nil {
		return err
	}
	defer rows.Close()
	row := make([]int64, rundir.Columns(t.name))
	for rows.Next() {
		raw := rows.RawValues()
		if len(raw) != len(row) {
			return fmt.Errorf("%d columns, want %d", len(raw), len(row))
		}
		for i, b := range raw {
			if len(b) != 8 {
				return fmt.Errorf("column %d after row %v: %d bytes (NULL?), want a bigint", i+1, row, len(b))
			}
			row[i] = int64(binary.BigEndian.Uint64(b))
		}
		if err := w.Write(row); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return w.Close()
}
