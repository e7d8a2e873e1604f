package mesh

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/spockchaos/spockchaos/topology/engine"
	"github.com/spockchaos/spockchaos/topology/wait"
)

// interNode makes every node connect to every other, as its subscription does, and looks who answers.
func (k *checks) interNode(ctx context.Context) []Part {
	var subjects []subject
	for _, from := range k.Members {
		for _, to := range k.Members {
			if from.Name == to.Name {
				continue
			}
			subjects = append(subjects, subject{from.Name + ">" + to.Name, func(ctx context.Context) (string, error) {
				return "", reach(ctx, from, to)
			}})
		}
	}
	return all(ctx, lookLimit, subjects)
}

// whoQuery tells servers apart: copies of one data directory have everything else in common.
const whoQuery = `SELECT extract(epoch FROM pg_postmaster_start_time())::text`

// reach makes from's server connect to to's through their link.
func reach(ctx context.Context, from, to engine.Member) error {
	dsn, ok := to.PeerDSN[from.Name]
	if !ok {
		return fmt.Errorf("there is no way from %s to %s", from.Name, to.Name)
	}
	var there string
	err := on(ctx, from.DSN, func(c *pgx.Conn) error {
		got, err := askThrough(ctx, c, dsn, whoQuery)
		if err != nil {
			return err
		}
		// To's own answer comes second: when it does not answer directly either, the link's failure says more.
		err = on(ctx, to.DSN, func(c *pgx.Conn) error { return c.QueryRow(ctx, whoQuery).Scan(&there) })
		if err != nil {
			return fmt.Errorf("%s answers its peer, but not this machine: %s", to.Name, Reason(err))
		}
		if got != there {
			return fmt.Errorf("another server than %s answers", to.Name)
		}
		return nil
	})
	var away unreachableError
	if errors.As(err, &away) {
		return fmt.Errorf("%s does not answer this machine: %s", from.Name, Reason(err))
	}
	return err
}

// askThrough lets the connected server ask the one at dsn. It leaves nothing behind, dblink included where that is not installed.
func askThrough(ctx context.Context, c *pgx.Conn, dsn, query string) (answer string, err error) {
	const conn = "spockchaos_test"
	dsn += fmt.Sprintf(" connect_timeout=%d", connectLimit/time.Second) // the last one counts
	tx, err := c.Begin(ctx)
	if err != nil {
		return "", err
	}
	defer func() { _ = tx.Rollback(ctx) }() // the connection is closed next: nothing can stay
	if _, err := tx.Exec(ctx, `SET LOCAL client_min_messages = error; CREATE EXTENSION IF NOT EXISTS dblink`); err != nil {
		return "", fmt.Errorf("installing dblink: %w", err)
	}
	if _, err := tx.Exec(ctx, `SELECT dblink_connect($1, $2)`, conn, dsn); err != nil {
		return "", err
	}
	// Sent and polled for: while dblink waits for an answer itself, nothing ends it on PostgreSQL 15.
	var sent int
	if err := tx.QueryRow(ctx, `SELECT dblink_send_query($1, $2)`, conn, query).Scan(&sent); err != nil {
		return "", err
	}
	if sent != 1 {
		return "", errors.New("the query could not be sent")
	}
	for {
		var busy bool
		if err := tx.QueryRow(ctx, `SELECT dblink_is_busy($1) = 1`, conn).Scan(&busy); err != nil {
			return "", err
		}
		if !busy {
			break
		}
		if wait.For(ctx, askEvery/5) != nil {
			return "", errors.New("connected, but no answer in time")
		}
	}
	err = tx.QueryRow(ctx, `SELECT v FROM dblink_get_result($1) AS r(v text)`, conn).Scan(&answer)
	return answer, err
}
