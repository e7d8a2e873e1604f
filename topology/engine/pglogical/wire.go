package pglogical

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/spockchaos/spockchaos/topology/engine"
	"github.com/spockchaos/spockchaos/topology/wait"
)

// sets are the replication sets that each subscription takes in.
var sets = []string{"default", "default_insert_only"}

// kickAfter is how long a subscription may be without a worker before it is restarted: the manager process
// may sleep for minutes after a failure.
const kickAfter = 3 * time.Second

// wiring is one call of Wire.
type wiring struct {
	Engine
	members []engine.Member

	mu    sync.Mutex
	slots map[string]map[string]bool // by node: what slots it has
}

// Wire makes every member a node with the probe table, then subscribes each to each other, then waits
// until every subscription replicates. Within a step the members go in parallel.
//
// A subscription that is there keeps its place in the provider's WAL. One whose slot is gone from the provider has no
// place any more: it is made anew and goes on from now.
func (e Engine) Wire(ctx context.Context, members []engine.Member) error {
	w := &wiring{Engine: e, members: members, slots: map[string]map[string]bool{}}
	for _, s := range []struct {
		what string
		do   func(context.Context, *pgx.Conn, engine.Member) error
	}{{"making a node of", w.makeNode}, {"subscribing", w.subscribeAll}, {"waiting for", w.awaitReplicating}} {
		g, ctx := errgroup.WithContext(ctx)
		for _, m := range members {
			g.Go(func() error {
				c, err := pgx.Connect(ctx, m.DSN)
				if err != nil {
					return fmt.Errorf("%s %s: %w", s.what, m.Name, err)
				}
				defer engine.HangUp(c)
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

func (w *wiring) makeNode(ctx context.Context, c *pgx.Conn, m engine.Member) error {
	if _, err := c.Exec(ctx, `CREATE EXTENSION IF NOT EXISTS `+w.Name()); err != nil {
		return fmt.Errorf("creating the extension: %w", err)
	}
	schema, _, _ := strings.Cut(engine.ProbeTable, ".")
	_, err := c.Exec(ctx, `CREATE SCHEMA IF NOT EXISTS `+schema+`;
		CREATE TABLE IF NOT EXISTS `+engine.ProbeTable+` (node text PRIMARY KEY, n bigint NOT NULL)`)
	if err != nil {
		return fmt.Errorf("creating the probe table: %w", err)
	}
	var name, dsn, interfaceID string
	err = c.QueryRow(ctx, w.sql(`SELECT n.node_name::text, i.if_dsn, i.if_id::text FROM {schema}.local_node l JOIN {schema}.node n USING (node_id)
		JOIN {schema}.node_interface i ON i.if_id = l.node_local_interface`)).Scan(&name, &dsn, &interfaceID)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		if _, err := c.Exec(ctx, w.sql(`SELECT {node_create}($1, $2)`), m.Name, m.OwnDSN()); err != nil {
			return fmt.Errorf("creating the node: %w", err)
		}
	case err != nil:
		return fmt.Errorf("looking for the node: %w", err)
	case name != m.Name:
		return fmt.Errorf("its database is node %s already", name)
	case dsn != m.OwnDSN():
		if err := w.setDSN(ctx, c, interfaceID, m.OwnDSN()); err != nil {
			return err
		}
	}
	if err := w.AddTables(ctx, c, []string{engine.ProbeTable}, nil); err != nil {
		return err
	}
	return w.noteSlots(ctx, c, m.Name)
}

// setDSN changes where an interface leads. pglogical has functions that add an interface and drop it, none that changes it.
func (w *wiring) setDSN(ctx context.Context, c *pgx.Conn, interfaceID, dsn string) error {
	if _, err := c.Exec(ctx, w.sql(`UPDATE {schema}.node_interface SET if_dsn = $2 WHERE if_id = $1::text::oid`), interfaceID, dsn); err != nil {
		return fmt.Errorf("changing a conninfo: %w", err)
	}
	return nil
}

// noteSlots keeps what slots the connected node has.
func (w *wiring) noteSlots(ctx context.Context, c *pgx.Conn, node string) error {
	rows, err := c.Query(ctx, `SELECT slot_name::text FROM pg_replication_slots WHERE database = current_database()`)
	if err != nil {
		return fmt.Errorf("listing slots: %w", err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("listing slots: %w", err)
	}
	have := map[string]bool{}
	for _, n := range names {
		have[n] = true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.slots[node] = have
	return nil
}

func (w *wiring) subscribeAll(ctx context.Context, c *pgx.Conn, m engine.Member) error {
	have, err := w.subscribed(ctx, c)
	if err != nil {
		return err
	}
	for _, p := range w.members {
		if p.Name == m.Name {
			continue
		}
		dsn, ok := p.PeerDSN[m.Name]
		if !ok {
			return fmt.Errorf("there is no way from %s to %s", m.Name, p.Name)
		}
		if err := w.subscribe(ctx, c, have[p.Name], p.Name, subscription(p.Name, m.Name), peerDSN(dsn)); err != nil {
			return fmt.Errorf("subscribing to %s: %w", p.Name, err)
		}
	}
	return nil
}

// existing is a subscription as the catalogs have it.
type existing struct {
	name, provider, slot string
	enabled              bool
	ready                bool // it has begun to follow its slot
	interfaceID, dsn     string
	sets, forward        []string
}

// subscribed are the connected node's subscriptions, by provider.
func (w *wiring) subscribed(ctx context.Context, c *pgx.Conn) (map[string]existing, error) {
	rows, err := c.Query(ctx, w.sql(`SELECT s.sub_name::text, n.node_name::text, s.sub_slot_name::text, s.sub_enabled,
			EXISTS (SELECT FROM {schema}.local_sync_status y WHERE y.sync_subid = s.sub_id AND y.sync_nspname IS NULL AND y.sync_status = 'r'),
			i.if_id::text, i.if_dsn, s.sub_replication_sets, s.sub_forward_origins
		FROM {schema}.subscription s JOIN {schema}.node n ON n.node_id = s.sub_origin JOIN {schema}.node_interface i ON i.if_id = s.sub_origin_if`))
	if err != nil {
		return nil, fmt.Errorf("listing subscriptions: %w", err)
	}
	have := map[string]existing{}
	var s existing
	_, err = pgx.ForEachRow(rows, []any{&s.name, &s.provider, &s.slot, &s.enabled, &s.ready, &s.interfaceID, &s.dsn, &s.sets, &s.forward}, func() error {
		have[s.provider] = s
		s = existing{}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing subscriptions: %w", err)
	}
	return have, nil
}

// subscribe makes the connected node's subscription to a provider, or makes the one that it has (s) what it should be.
func (w *wiring) subscribe(ctx context.Context, c *pgx.Conn, s existing, provider, name, dsn string) error {
	switch {
	case s.name == "":
		return w.createSubscription(ctx, c, name, dsn)
	case s.name != name:
		return fmt.Errorf("there is a subscription %s, which is not ours: drop it first", s.name)
	case len(s.forward) > 0:
		return fmt.Errorf("subscription %s forwards what others wrote (%s): drop it first", name, strings.Join(s.forward, ", "))
	case s.ready && !w.slots[provider][s.slot]:
		if _, err := c.Exec(ctx, w.sql(`SELECT {sub_drop}($1)`), name); err != nil {
			return fmt.Errorf("dropping subscription %s, whose slot is gone: %w", name, err)
		}
		return w.createSubscription(ctx, c, name, dsn)
	}
	if s.dsn != dsn {
		if err := w.setDSN(ctx, c, s.interfaceID, dsn); err != nil {
			return err
		}
		if s.enabled { // its worker has still the old one
			if err := w.Disable(ctx, c, provider); err != nil {
				return err
			}
			s.enabled = false
		}
	}
	for _, set := range sets {
		if !slices.Contains(s.sets, set) {
			if _, err := c.Exec(ctx, w.sql(`SELECT {sub_add_set}($1, $2)`), name, set); err != nil {
				return fmt.Errorf("adding replication set %s: %w", set, err)
			}
		}
	}
	if !s.enabled {
		return w.Enable(ctx, c, provider)
	}
	return nil
}

func (w *wiring) createSubscription(ctx context.Context, c *pgx.Conn, name, dsn string) error {
	_, err := c.Exec(ctx, w.sql(`SELECT {sub_create}($1, $2, $3, false, false, '{}')`), name, dsn, sets)
	return err
}

// awaitReplicating waits until the connected node replicates from every other member.
func (w *wiring) awaitReplicating(ctx context.Context, c *pgx.Conn, m engine.Member) error {
	downSince := map[string]time.Time{} // by provider
	for {
		all, err := w.Subscriptions(ctx, c)
		if err != nil {
			return err
		}
		status := map[string]string{}
		for _, s := range all {
			status[s.Provider] = s.Status
		}
		var not []string
		for _, p := range w.members {
			if p.Name == m.Name || status[p.Name] == "replicating" {
				continue
			}
			not = append(not, "from "+p.Name+": "+status[p.Name])
			since, down := downSince[p.Name]
			switch {
			case status[p.Name] != "down":
				delete(downSince, p.Name)
			case !down:
				downSince[p.Name] = time.Now()
			case time.Since(since) > kickAfter:
				delete(downSince, p.Name)
				if err := engine.Restart(ctx, w, c, p.Name); err != nil {
					return err
				}
			}
		}
		if len(not) == 0 {
			return nil
		}
		if err := wait.For(ctx, pollEvery); err != nil {
			return fmt.Errorf("it does not replicate %s: %w", strings.Join(not, ", "), err)
		}
	}
}
