package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// RecoverySQL is a file of the user's that is loaded after sql/. The zero value is none.
type RecoverySQL struct {
	path string
	text []byte
}

// ReadRecoverySQL reads the user's file, "" for none.
func ReadRecoverySQL(path string) (RecoverySQL, error) {
	if path == "" {
		return RecoverySQL{}, nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return RecoverySQL{}, &UsageError{fmt.Errorf("read --recovery-sql: %w", err)}
	}
	return RecoverySQL{path, b}, nil
}

// load runs the text of the user's file on a node, in one transaction. What the server has against
// it is the user's to mend.
func (r RecoverySQL) load(ctx context.Context, c *pgx.Conn) error {
	if len(r.text) == 0 {
		return nil
	}
	_, err := c.PgConn().Exec(ctx, string(r.text)).ReadAll()
	var server *pgconn.PgError
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &server):
		return fmt.Errorf("load --recovery-sql %s: %w", r.path, err)
	}
	where := r.path
	if server.Position > 0 {
		where = fmt.Sprintf("%s, line %d", r.path, lineOf(r.text, int(server.Position)))
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
