package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
)

// ProbeTable is the table that Probe writes. An engine's Wire makes it on every member with
// the columns (node text PRIMARY KEY, n bigint NOT NULL) and replicates its inserts and updates.
const ProbeTable = "spockchaos.probe"

// probeEvery is how often Probe looks.
const probeEvery = 20 * time.Millisecond

// Probe returns when a row that was written on every member was seen on every other one; it
// gives up when ctx is done, saying which row is missing where. It writes one small transaction per member.
func Probe(ctx context.Context, members []Member) error {
	conns := make([]*pgx.Conn, len(members))
	defer func() {
		for _, c := range conns {
			HangUp(c)
		}
	}()
	written := make([]int64, len(members))
	g, writing := errgroup.WithContext(ctx)
	for i, m := range members {
		g.Go(func() error {
			c, err := pgx.Connect(writing, m.DSN)
			if err != nil {
				return fmt.Errorf("probing %s: %w", m.Name, err)
			}
			conns[i] = c
			err = c.QueryRow(writing, `INSERT INTO `+ProbeTable+` AS p (node, n) VALUES ($1, 1)
				ON CONFLICT (node) DO UPDATE SET n = p.n + 1 RETURNING n`, m.Name).Scan(&written[i])
			if err != nil {
				return fmt.Errorf("writing a probe row on %s: %w", m.Name, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	g, reading := errgroup.WithContext(ctx)
	for i, m := range members {
		g.Go(func() error {
			for j, from := range members {
				if j != i {
					if err := awaitProbe(reading, conns[i], m.Name, from.Name, written[j]); err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
	return g.Wait()
}

func awaitProbe(ctx context.Context, c *pgx.Conn, on, from string, n int64) error {
	t := time.NewTicker(probeEvery)
	defer t.Stop()
	for {
		var there bool
		err := c.QueryRow(ctx, `SELECT EXISTS (SELECT FROM `+ProbeTable+` WHERE node = $1 AND n >= $2)`, from, n).Scan(&there)
		switch {
		case err != nil && ctx.Err() == nil:
			return fmt.Errorf("looking for %s's probe row on %s: %w", from, on, err)
		case there:
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s's probe row did not come to %s: %w", from, on, ctx.Err())
		case <-t.C:
		}
	}
}
