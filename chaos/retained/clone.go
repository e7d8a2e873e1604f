package retained

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/sql"
)

// batch is about how many messages are decoded at a time; a transaction comes whole. The server holds them in memory.
const batch = 20000

// Transaction is a transaction as a copy of the recovery slot shows it.
type Transaction struct {
	Commit      rundir.LSN // in the WAL that was read
	Origin      string     // replication origin, "" for the node's own
	LSN         rundir.LSN // of the commit in the origin's WAL
	CommittedAt time.Time
	Changes     int // rows inserted, updated and deleted; a truncate counts as one
}

// Reading is who is told what is read.
type Reading struct {
	// Change is told of each change before its transaction is done. kind is the message's ('I', 'U', 'D', 'T'), table is
	// "schema.name", the first one of a truncate, and row what follows. nil: the rows stay on the server, which saves most of the time.
	Change func(kind byte, table string, row *Fields) error
	// Done is told of each transaction, in the order of the commits.
	Done func(Transaction) error
}

// Read copies the connected node's recovery slot under a name, reads the copy up to where the WAL is flushed now, and drops it. It
// returns where the slot stands. The copy is temporary: however this ends, it ends with the session at the latest.
func Read(ctx context.Context, c *pgx.Conn, name string, r Reading) (slot rundir.LSN, err error) {
	var at, stop string
	err = c.QueryRow(ctx, `SELECT lsn::text, pg_current_wal_flush_lsn()::text FROM pg_copy_logical_replication_slot($1::name, $2::name, true, 'pgoutput')`,
		sql.RecoverySlotName(c.Config().Database), name).Scan(&at, &stop)
	if err != nil {
		return 0, fmt.Errorf("copy the recovery slot: %w", err)
	}
	if slot, err = rundir.ParseLSN(at); err != nil {
		return 0, err
	}
	d := decoder{Reading: r, names: map[uint32]string{}}
	for {
		n, err := d.readBatch(ctx, c, name, stop)
		if err != nil {
			return 0, fmt.Errorf("read a copy of the recovery slot: %w", err)
		}
		if n < batch {
			break
		}
	}
	if _, err := c.Exec(ctx, `SELECT pg_drop_replication_slot($1)`, name); err != nil {
		return 0, fmt.Errorf("drop the copy of the recovery slot: %w", err)
	}
	return slot, nil
}

// readBatch takes the next messages from the copy; n is how many there were.
func (d *decoder) readBatch(ctx context.Context, c *pgx.Conn, name, stop string) (n int, err error) {
	what := "data"
	if d.Change == nil { // Begin, Commit and Origin come whole, of anything else the kind alone
		what = "CASE WHEN get_byte(data, 0) IN (66, 67, 79) THEN data ELSE substring(data FROM 1 FOR 1) END"
	}
	rows, err := c.Query(ctx, `SELECT `+what+` FROM pg_logical_slot_get_binary_changes($1, $2::text::pg_lsn, $3,
		'proto_version', '1', 'publication_names', 'spock_recovery,spock_recovery_insert')`, name, stop, batch)
	if err != nil {
		return 0, err
	}
	var message []byte
	_, err = pgx.ForEachRow(rows, []any{&message}, func() error { n++; return d.add(message) })
	return n, err
}
