package pglogical

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/spockchaos/spockchaos/topology/engine"
)

// Wire makes every member a node with the probe table, then subscribes each to each other, then waits
// until every subscription replicates. Within a step the members go in parallel.
func (e Engine) Wire(ctx context.Context, members []engine.Member) error {
	steps := []struct {
		what string
		do   func(context.Context, *pgx.Conn, engine.Member) error
	}{
		{"making a node of", e.makeNode},
		{"subscribing", func(ctx context.Context, c *pgx.Conn, m engine.Member) error { return subscribe(ctx, c, m, members) }},
		{"waiting for", func(ctx context.Context, c *pgx.Conn, m engine.Member) error {
			return e.awaitReplicating(ctx, c, len(members)-1)
		}},
	}
	for _, s := range steps {
		g, ctx := errgroup.WithContext(ctx)
		for _, m := range members {
			g.Go(func() error {
				c, err := pgx.Connect(ctx, m.DSN)
				if err != nil {
					return fmt.Errorf("%s %s: %w", s.what, m.Name, err)
				}
				defer func() {
					closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
					defer cancel()
					_ = c.Close(closing)
				}()
				if err := s.do(ctx, c, m); err != nil {
					return fmt.Errorf("%s %s: %w", s.what, m.Name, err)
				}
				return nil
			})
		}
		if err := g.Wait(); err != nil {
			return err
		}
	}
	return nil
}

func (e Engine) makeNode(ctx context.Context, c *pgx.Conn, m engine.Member) error {
	if _, err := c.Exec(ctx, `CREATE EXTENSION IF NOT EXISTS pglogical`); err != nil {
		return fmt.Errorf("creating the extension: %w", err)
	}
	schema, _, _ := strings.Cut(engine.ProbeTable, ".")
	_, err := c.Exec(ctx, `CREATE SCHEMA IF NOT EXISTS `+schema+`;
		CREATE TABLE IF NOT EXISTS `+engine.ProbeTable+` (node text PRIMARY KEY, n bigint NOT NULL)`)
	if err != nil {
		return fmt.Errorf("creating the probe table: %w", err)
	}
	if _, err := c.Exec(ctx, `SELECT pglogical.create_node($1, $2)`, m.Name, m.DSN); err != nil {
		return fmt.Errorf("creating the node: %w", err)
	}
	return e.AddTables(ctx, c, []string{engine.ProbeTable}, nil)
}

func subscribe(ctx context.Context, c *pgx.Conn, m engine.Member, members []engine.Member) error {
	for _, p := range members {
		if p.Name == m.Name {
			continue
		}
		dsn, ok := p.PeerDSN[m.Name]
		if !ok {
			return fmt.Errorf("there is no way from %s to %s", m.Name, p.Name)
		}
		_, err := c.Exec(ctx, `SELECT pglogical.create_subscription($1, $2, '{default,default_insert_only}', false, false, '{}')`,
			subscription(p.Name, m.Name), peerDSN(dsn))
		if err != nil {
			return fmt.Errorf("subscribing to %s: %w", p.Name, err)
		}
	}
	return nil
}

func (e Engine) awaitReplicating(ctx context.Context, c *pgx.Conn, n int) error {
	for {
		subs, err := e.Subscriptions(ctx, c)
		if err != nil {
			return err
		}
		var not []string
		for _, s := range subs {
			if s.Status != "replicating" {
				not = append(not, s.Name+" is "+s.Status)
			}
		}
		if len(subs) == n && len(not) == 0 {
			return nil
		}
		if err := sleep(ctx, pollEvery); err != nil {
			return fmt.Errorf("%d of %d subscriptions are there, %s: %w", len(subs), n, strings.Join(not, ", "), err)
		}
	}
}
