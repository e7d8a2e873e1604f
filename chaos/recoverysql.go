package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// readRecoverySQL reads the user's file, nil for none.
func readRecoverySQL(path string) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read --recovery-sql: %w", err)
	}
	return b, nil
}

// loadRecoverySQL runs the text of the user's file on a node, in one transaction. What the server has against
// it is the user's to mend.
func loadRecoverySQL(ctx context.Context, c *pgx.Conn, path string, text []byte) error {
	if len(text) == 0 {
		return nil
	}
	_, err := c.PgConn().Exec(ctx, string(text)).ReadAll()
	var server *pgconn.PgError
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &server):
		return fmt.Errorf("load --recovery-sql %s: %w", path, err)
	}
	where := path
	if server.Position > 0 {
		where = fmt.Sprintf("%s, line %d", path, lineOf(text, int(server.Position)))
	}
	return &UsageError{fmt.Errorf("--recovery-sql %s: %w", where, server)}
}

// lineOf is the line, from 1, of a character of text, counted from 1 as the server does.
func lineOf(text []byte, character int) int {
	line, at := 1, 1
	for _, r := range string(text) {
		if at >= character {
			break
		}
		if r == '\n' {
			line++
		}
		at++
	}
	return line
}
