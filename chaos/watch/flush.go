package watch

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// flushWAL returns when everything that was visible before the call is on the
// node's disk. Apply workers commit asynchronously, and a crash may take back
// such a commit although it was read; the WAL is one stream, though, and a commit
// that waits for its own record waits for all before it.
//
// The message is transactional: only a transaction that wrote something is flushed
// at its commit. It has no content and no subscriber takes notice of it, but as
// a commit it does move the peers' progress. That is why it is sent only after a
// snapshot that showed something new: an idle node stays idle, and a recovery slot
// that fails to advance there is not helped along.
//
// The session must have synchronous_commit = on.
func flushWAL(ctx context.Context, c *pgx.Conn) error {
	_, err := c.Exec(ctx, `SELECT pg_logical_emit_message(true, 'spockchaos', '')`)
	return err
}
