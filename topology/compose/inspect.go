package compose

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"

	"github.com/spockchaos/spockchaos/topology"
	"github.com/spockchaos/spockchaos/topology/engine"
	"github.com/spockchaos/spockchaos/topology/mesh"
	"github.com/spockchaos/spockchaos/topology/server"
)

// servers is what the servers of a cluster say of themselves.
type servers struct {
	version string
	number  int
	foreign []string // tables of somebody else's, "n1: shop.public.orders"
}

// inspect asks every server, and changes nothing. All must have the same version, and the engine.
func inspect(ctx context.Context, c mesh.Cluster, ours []string) (servers, error) {
	var mu sync.Mutex
	var s servers
	err := topology.Each(ctx, c.Members, func(ctx context.Context, m engine.Member) error {
		version, tables, err := inspectOne(ctx, m, c.Engine.Name(), ours)
		if err != nil {
			return fmt.Errorf("%s: %w", m.Name, err)
		}
		name, number, err := server.ParseVersion(version)
		if err != nil {
			return fmt.Errorf("%s: %w", m.Name, err)
		}
		mu.Lock()
		defer mu.Unlock()
		if s.version != "" && s.version != name {
			return fmt.Errorf("the servers are of different versions, %s and %s", s.version, name)
		}
		s.version, s.number = name, number
		for _, t := range tables {
			s.foreign = append(s.foreign, m.Name+": "+t)
		}
		return nil
	})
	slices.Sort(s.foreign)
	return s, err
}

func inspectOne(ctx context.Context, m engine.Member, eng string, ours []string) (version string, tables []string, err error) {
	cfg, err := pgx.ParseConfig(m.DSN)
	if err != nil {
		return "", nil, err
	}
	var databases []string
	err = onConn(ctx, cfg, func(c *pgx.Conn) error {
		var has, super bool
		err := c.QueryRow(ctx, `SELECT current_setting('server_version'), EXISTS (SELECT FROM pg_available_extensions WHERE name = $1),
			(SELECT rolsuper FROM pg_roles WHERE rolname = current_user)`, eng).Scan(&version, &has, &super)
		switch {
		case err != nil:
			return err
		case !has:
			return fmt.Errorf("the server has no extension %s", eng)
		case !super:
			return fmt.Errorf("user %s is no superuser", cfg.User)
		}
		databases, err = column(ctx, c, `SELECT datname::text FROM pg_database WHERE datallowconn AND NOT datistemplate ORDER BY 1`)
		return err
	})
	if err != nil {
		return "", nil, err
	}
	for _, db := range databases {
		one := cfg.Copy()
		one.Database = db
		err := onConn(ctx, one, func(c *pgx.Conn) error {
			found, err := column(ctx, c, foreignTables, ours)
			for _, t := range found {
				tables = append(tables, db+"."+t)
			}
			return err
		})
		if err != nil {
			return "", nil, err
		}
	}
	return version, tables, nil
}

// foreignTables are those outside of the schemas of the system, of the engines and of our procedures that belong to no extension and are not
// among ours. Schema spockchaos is no place of ours alone: the user is called so, and his tables go there by default.
const foreignTables = `SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
	WHERE c.relkind IN ('r', 'p', 'm', 'f') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pglogical', 'pglogical_origin', 'spock')
	AND n.nspname NOT LIKE 'pg\_toast%' AND n.nspname NOT LIKE 'pg\_temp%'
	AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
	AND n.nspname || '.' || c.relname <> ALL ($1)
	ORDER BY 1`

func onConn(ctx context.Context, cfg *pgx.ConnConfig, f func(*pgx.Conn) error) error {
	c, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return err
	}
	defer engine.HangUp(c)
	return f(c)
}

func column(ctx context.Context, c *pgx.Conn, query string, args ...any) ([]string, error) {
	rows, err := c.Query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// say names the foreign tables, not more than a line has room for.
func (s servers) say() string {
	const most = 3
	some := s.foreign
	rest := ""
	if len(some) > most {
		rest = fmt.Sprintf(" and %d more", len(some)-most)
		some = some[:most]
	}
	return "there are tables that are not ours (" + strings.Join(some, ", ") + rest + ")"
}
