package watch

import (
	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/workload/history"
)

// table says how one of the workload's tables is read.
type table struct {
	name string
	// rows gives the columns of its row file, as bigint and in order.
	rows string
	// content is a text for each row that says all that its row file says of it, but for commit timestamps.
	// "": the row file shows the rows of a table before it in another order.
	content string
	// tally is an integer per row whose sum over the table changes with most changes, and is cheap to read.
	tally string
	// settled: nodes that hold the same in the other tables have nothing more to come that changes this one. So
	// nobody waits until it is the same on all nodes: if it is not then, it will never be.
	settled bool
}

// committedAt is the commit timestamp of a row's transaction as rundir has it.
const committedAt = `(extract(epoch FROM pg_xact_commit_timestamp(xmin)) * 1000000)::bigint`

// tables are the workload's tables in the order of rundir.Tables. A register's
// pad is stood for by its hash, history.PadSum.
func tables() []table {
	return []table{
		{
			name:    rundir.TableLedger,
			rows:    `SELECT session::bigint, n::bigint, value::bigint FROM chaos.ledger ORDER BY session, n`,
			content: `session || ' ' || n || ' ' || value`,
			tally:   `n`,
		},
		{
			name:    rundir.TableEvent,
			rows:    `SELECT session::bigint, n::bigint, seq::bigint FROM chaos.event ORDER BY session, n, seq`,
			content: `session || ' ' || n || ' ' || seq`,
			tally:   `n`,
		},
		{
			name:    rundir.TableBulk,
			rows:    `SELECT session::bigint, n::bigint, count(*), sum(seq)::bigint FROM chaos.bulk GROUP BY session, n ORDER BY session, n`,
			content: `session || ' ' || n || ' ' || seq`,
			tally:   `n`,
		},
		{
			name:    rundir.TableRegister,
			rows:    `SELECT key::bigint, session::bigint, n::bigint, value::bigint, ` + history.PadSumSQL + ` FROM chaos.register ORDER BY key`,
			content: `key || ' ' || session || ' ' || n || ' ' || value || ' ' || ` + history.PadSumSQL,
			tally:   `n`,
		},
		{
			name:    rundir.TableCounter,
			rows:    `SELECT key::bigint, value::bigint FROM chaos.counter ORDER BY key`,
			content: `key || ' ' || value`,
			tally:   `value * (key % 997 + 1)`,
		},
		{
			name: rundir.TableAccount,
			rows: `SELECT id::bigint, balance::bigint FROM chaos.account ORDER BY id`,
			// A plain sum would not change: transfers keep the total.
			content: `id || ' ' || balance`,
			tally:   `balance * (id % 997 + 1)`,
		},
		{
			name: rundir.TableConflict,
			rows: `SELECT key, session::bigint, n, value, prev_session::bigint, prev_n, CASE session WHEN 0 THEN 0 ELSE ` + committedAt + ` END
				FROM chaos.conflict ORDER BY key`,
			content: `key || ' ' || session || ' ' || n || ' ' || value || ' ' || prev_session || ' ' || prev_n`,
			tally:   `n * (key % 997 + 1)`,
			settled: true,
		},
		{
			name: rundir.TableVersion,
			rows: `SELECT session::bigint, n, key, value, prev_session::bigint, prev_n, ` + committedAt + `
				FROM chaos.version ORDER BY session, n, key`,
			content: `key || ' ' || session || ' ' || n || ' ' || value || ' ' || prev_session || ' ' || prev_n`,
			tally:   `n`,
		},
		{
			name: rundir.TableVersionByKey,
			rows: `SELECT key, session::bigint, n, value, prev_session::bigint, prev_n, ` + committedAt + `
				FROM chaos.version ORDER BY key, session, n`,
		},
	}
}
