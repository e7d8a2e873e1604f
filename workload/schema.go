package workload

import (
	"context"
	_ "embed"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/spockchaos/spockchaos/workload/history"
)

//go:embed schema.sql
var schemaSQL string

// Tables lists the workload's tables, schema-qualified: those with a primary key, and
// those without any, of which only inserts can be replicated.
func Tables() (keyed, insertOnly []string) {
	return []string{"chaos.ledger", "chaos.bulk", "chaos.register", "chaos.counter", "chaos.account", "chaos.conflict", "chaos.version"},
		[]string{"chaos.event"}
}

// DeltaColumns lists the columns, by table, that must be applied by differences for shared counters to add up.
func DeltaColumns() map[string][]string { return map[string][]string{"chaos.counter": {"value"}} }

// Setup creates the tables and the first rows of every pool on the connected node. It
// is to be called on every node before the tables are replicated, and may be called again.
func Setup(ctx context.Context, c *pgx.Conn, w history.Workload) error {
	err := pgx.BeginFunc(ctx, c, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, schemaSQL); err != nil {
			return fmt.Errorf("create the tables: %w", err)
		}
		for _, p := range w.Pools {
			if err := createCounters(ctx, tx, p.FirstCounter, p.Counters); err != nil {
				return fmt.Errorf("create the counters of %s: %w", p.Node, err)
			}
			if _, err := tx.Exec(ctx, `insert into chaos.account (id, balance)
				select $1::bigint + i, $3::bigint from generate_series(0, $2::int - 1) i on conflict do nothing`,
				p.FirstAccount, p.Accounts, p.InitialBalance); err != nil {
				return fmt.Errorf("create the accounts of %s: %w", p.Node, err)
			}
		}
		if w.Conflict != nil {
			if _, err := tx.Exec(ctx, `insert into chaos.conflict (key, session, n, value, prev_session, prev_n)
				select i, 0, $2::bigint, 0, 0, 0 from generate_series(1, $1::bigint) i on conflict do nothing`,
				w.Conflict.Hot, history.InitialWrite); err != nil {
				return fmt.Errorf("create the first conflict rows: %w", err)
			}
		}
		if err := createCounters(ctx, tx, w.SharedCounters.First, w.SharedCounters.Count); err != nil {
			return fmt.Errorf("create the counters that all nodes share: %w", err)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("set the workload up: %w", err)
	}
	return nil
}

func createCounters(ctx context.Context, tx pgx.Tx, first int64, count int) error {
	_, err := tx.Exec(ctx, `insert into chaos.counter (key, value)
		select $1::bigint + i, 0 from generate_series(0, $2::int - 1) i on conflict do nothing`, first, count)
	return err
}

// Remove drops the tables, with all that is in them, on the connected node. Replication of them ends there.
func Remove(ctx context.Context, c *pgx.Conn) error {
	if _, err := c.Exec(ctx, `SET client_min_messages = warning; DROP SCHEMA IF EXISTS chaos CASCADE`); err != nil {
		return fmt.Errorf("drop the workload's tables: %w", err)
	}
	return nil
}
