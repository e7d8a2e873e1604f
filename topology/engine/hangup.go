package engine

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// hangUpLimit is how long a server may take to answer the end of a connection.
const hangUpLimit = time.Second

// HangUp closes a connection, if there is one, and does not wait long for a server that is killed, stopped or cut off.
func HangUp(c *pgx.Conn) {
	if c == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), hangUpLimit)
	defer cancel()
	_ = c.Close(ctx) // the server may be gone: nothing to be done about it
}
