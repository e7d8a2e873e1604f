package attach

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/spockchaos/spockchaos/sql"
	"github.com/spockchaos/spockchaos/topology/engine"
	"github.com/spockchaos/spockchaos/topology/engine/engines"
	"github.com/spockchaos/spockchaos/topology/mesh"
)

// Server is a node that answered. It is for one goroutine at a time.
type Server struct {
	Node
	Engine engine.Engine
	// Started tells servers apart: copies of one data directory have everything else in common.
	Started string

	conn *pgx.Conn
}

// StartedQuery is Started of the server that is asked.
const StartedQuery = `SELECT extract(epoch FROM pg_postmaster_start_time())::text`

// AwayError is a server that did not answer.
type AwayError struct {
	Node string
	Err  error
}

func (e *AwayError) Error() string {
	return fmt.Sprintf("%s does not answer: %s", e.Node, mesh.Reason(e.Err))
}
func (e *AwayError) Unwrap() error { return e.Err }

// Open connects to a node and looks what it is. An error is one line; *AwayError if nobody answers. The server is to be closed.
func Open(ctx context.Context, n Node) (_ *Server, err error) {
	s := &Server{Node: n}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	if s.conn, err = connect(ctx, n); err != nil {
		return nil, err
	}
	if s.Engine, err = find(ctx, s.conn); err != nil {
		return nil, fmt.Errorf("%s: %w", n.Name, err)
	}
	name, err := s.Engine.NodeName(ctx, s.conn)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", n.Name, err)
	}
	if name != n.Name {
		return nil, fmt.Errorf("%s: its DSN leads to node %s", n.Name, name)
	}
	if err := s.conn.QueryRow(ctx, StartedQuery).Scan(&s.Started); err != nil {
		return nil, fmt.Errorf("%s: %w", n.Name, err)
	}
	return s, nil
}

// connect says whether a server is away for a while or refuses.
func connect(ctx context.Context, n Node) (*pgx.Conn, error) {
	c, err := mesh.Connect(ctx, n.DSN)
	var said *pgconn.PgError
	switch {
	case err == nil:
		return c, nil
	case errors.As(err, &said) && said.Code != "57P03": // cannot_connect_now
		return nil, fmt.Errorf("%s lets nobody in: %s", n.Name, mesh.Reason(err))
	case mesh.Unreachable(err):
		return nil, &AwayError{n.Name, err}
	}
	return nil, fmt.Errorf("%s: %w", n.Name, err)
}

// find is the engine that the connected database has. Where it has two, the one of which it is a node counts.
func find(ctx context.Context, c *pgx.Conn) (engine.Engine, error) {
	rows, err := c.Query(ctx, `SELECT extname FROM pg_extension`)
	if err != nil {
		return nil, fmt.Errorf("listing extensions: %w", err)
	}
	have, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("listing extensions: %w", err)
	}
	var found []engine.Engine
	var names []string
	for _, e := range engines.All() {
		names = append(names, e.Name())
		if slices.Contains(have, e.Name()) {
			found = append(found, e.Engine)
		}
	}
	if len(found) > 1 {
		found = slices.DeleteFunc(found, func(e engine.Engine) bool {
			_, err := e.NodeName(ctx, c)
			return err != nil
		})
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return nil, fmt.Errorf("database %s is no node of %s", c.Config().Database, strings.Join(names, " or "))
	}
	return nil, fmt.Errorf("database %s is a node of %s at once", c.Config().Database, strings.Join(names, " and "))
}

// Do runs f on the kept connection, which is made anew if it broke.
func (s *Server) Do(ctx context.Context, f func(*pgx.Conn) error) error {
	if s.conn == nil || s.conn.IsClosed() {
		c, err := connect(ctx, s.Node)
		if err != nil {
			return err
		}
		s.conn = c
	}
	if err := f(s.conn); err != nil {
		return fmt.Errorf("%s: %w", s.Name, err)
	}
	return nil
}

// Close ends the connection. It may be called more than once.
func (s *Server) Close() { engine.HangUp(s.conn) }

// Procedures makes sure that the server has the recovery procedures of this version. With install it puts them there, unless a newer
// version is there; then note says so.
func (s *Server) Procedures(ctx context.Context, install bool) (note string, err error) {
	version := 0 // none
	err = s.Do(ctx, func(c *pgx.Conn) error {
		var there bool
		if err := c.QueryRow(ctx, `SELECT to_regprocedure('spock.recovery_files_version()') IS NOT NULL`).Scan(&there); err != nil || !there {
			return err
		}
		return c.QueryRow(ctx, `SELECT spock.recovery_files_version()`).Scan(&version)
	})
	switch {
	case err != nil:
		return "", fmt.Errorf("looking for the recovery procedures: %w", err)
	case version == sql.Version:
		return "", nil
	case version > sql.Version:
		return "", fmt.Errorf("%s has recovery procedures of version %d, this program is older and has %d", s.Name, version, sql.Version)
	case !install && version == 0:
		return "", fmt.Errorf("%s has no recovery procedures: --install puts them there, as do spockchaos setup and psql -f (docs/recovery.md)", s.Name)
	case !install:
		return "", fmt.Errorf("%s has recovery procedures of version %d, this program has %d: --install replaces them, as do spockchaos setup and psql -f (docs/recovery.md)",
			s.Name, version, sql.Version)
	}
	err = s.Do(ctx, func(c *pgx.Conn) error {
		var busy bool // a rescue of this node holds this lock
		err := c.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND classid = hashtext('spock.recovery')::oid AND objid = 0 AND granted)`).Scan(&busy)
		if err != nil {
			return err
		}
		if busy {
			return errors.New("a rescue is in flight: its procedures are not replaced now")
		}
		return sql.Install(ctx, c, s.Engine.Name(), nil)
	})
	if err != nil {
		return "", fmt.Errorf("installing the recovery procedures on %w", err)
	}
	return fmt.Sprintf("recovery procedures of version %d installed on %s", sql.Version, s.Name), nil
}
