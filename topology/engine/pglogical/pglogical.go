package pglogical

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/spockchaos/spockchaos/topology/engine"
	"github.com/spockchaos/spockchaos/topology/wait"
)

// Engine is the adapter of pglogical, or of an extension that descends from it. New and Of make one.
type Engine struct {
	dialect Dialect
	names   *strings.Replacer
}

var _ engine.Engine = Engine{}

// Name of the engine.
func (e Engine) Name() string { return e.dialect.Name }

// Available looks for the extension's files.
func (e Engine) Available(in engine.Installation) (string, error) {
	name := e.dialect.Name
	for _, lib := range []string{name + ".so", name + "_output.so"} {
		if err := in.Library(lib); err != nil {
			return "", fmt.Errorf("no %s: %w", name, err)
		}
	}
	control, err := in.Control(name)
	if err != nil {
		return "", fmt.Errorf("no %s: %w", name, err)
	}
	return engine.ControlVersion(name, control)
}

// Settings for servers.
func (e Engine) Settings(int) map[string]string {
	name := e.dialect.Name
	s := map[string]string{
		"shared_preload_libraries":    name,
		name + ".conflict_resolution": "last_update_wins",
		// Every resolved conflict is in the server log, so that a row which lost is explained.
		name + ".conflict_log_level": "log",
		// The default, said aloud: apply workers do not wait for their commits.
		name + ".synchronous_commit": "off",
	}
	maps.Copy(s, e.dialect.Settings)
	return s
}

// subscription is the name of a subscriber's subscription to a provider. It is also the walsender's
// application_name and the end of the slot's name.
func subscription(provider, subscriber string) string { return "sub_" + provider + "_" + subscriber }

// peerOptions are added to the conninfo of a provider where it does not have them. A provider that
// is gone without a word is then noticed in seconds where TCP can notice it at all.
var peerOptions = []struct{ key, value string }{
	{"connect_timeout", "3"},
	{"keepalives", "1"}, {"keepalives_idle", "2"}, {"keepalives_interval", "1"}, {"keepalives_count", "3"},
	{"tcp_user_timeout", "5000"},
}

func peerDSN(dsn string) string {
	for _, o := range peerOptions {
		if !strings.Contains(" "+dsn, " "+o.key+"=") {
			dsn += " " + o.key + "=" + o.value
		}
	}
	return dsn
}

// AddTables puts tables into the replication sets default and default_insert_only.
func (e Engine) AddTables(ctx context.Context, c *pgx.Conn, keyed, insertOnly []string) error {
	add := func(set string, tables []string) error {
		for _, t := range tables {
			_, err := c.Exec(ctx, e.sql(`SELECT {set_add_table}($1, $2::text::regclass, false)
				WHERE NOT EXISTS (SELECT FROM {schema}.replication_set_table t JOIN {schema}.replication_set s ON s.set_id = t.set_id
					WHERE s.set_name = $1 AND t.set_reloid = $2::text::regclass)`), set, t)
			if err != nil {
				return fmt.Errorf("adding table %s to replication set %s: %w", t, set, err)
			}
		}
		return nil
	}
	if err := add("default", keyed); err != nil {
		return err
	}
	return add("default_insert_only", insertOnly)
}

// NodeName is the connected node's name.
func (e Engine) NodeName(ctx context.Context, c *pgx.Conn) (name string, err error) {
	err = c.QueryRow(ctx, e.sql(`SELECT n.node_name::text FROM {schema}.local_node l JOIN {schema}.node n USING (node_id)`)).Scan(&name)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", fmt.Errorf("database %s is no node of %s", c.Config().Database, e.Name())
	}
	if err != nil {
		return "", fmt.Errorf("reading the node's name: %w", err)
	}
	return name, nil
}

// Subscriptions of the connected node.
func (e Engine) Subscriptions(ctx context.Context, c *pgx.Conn) ([]engine.Subscription, error) {
	rows, err := c.Query(ctx, e.sql(`SELECT a.subscription_name, a.provider_node, a.status, a.slot_name, {node_origin}
		FROM {sub_status}() a JOIN {schema}.node n ON n.node_name = a.provider_node
		JOIN {schema}.subscription s ON s.sub_name = a.subscription_name WHERE NOT {rescue} ORDER BY 1`))
	if err != nil {
		return nil, fmt.Errorf("listing subscriptions: %w", err)
	}
	all, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (engine.Subscription, error) {
		var s engine.Subscription
		err := r.Scan(&s.Name, &s.Provider, &s.Status, &s.Slot, &s.NodeOrigin)
		s.Origin = s.Slot
		return s, err
	})
	if err != nil {
		return nil, fmt.Errorf("listing subscriptions: %w", err)
	}
	return all, nil
}

// find is the connected node's subscription to a provider: its name, and its id as the
// names of its processes have it.
func (e Engine) find(ctx context.Context, c *pgx.Conn, provider string) (name, id string, err error) {
	err = c.QueryRow(ctx, e.sql(`SELECT sub_name::text, sub_id::text FROM {schema}.subscription s
		JOIN {schema}.node n ON n.node_id = s.sub_origin WHERE n.node_name = $1 AND NOT {rescue}`), provider).Scan(&name, &id)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", "", fmt.Errorf("no subscription to %s", provider)
	}
	if err != nil {
		return "", "", fmt.Errorf("looking for the subscription to %s: %w", provider, err)
	}
	return name, id, nil
}

// pollEvery is how often the server is asked about what sends no event.
const pollEvery = 10 * time.Millisecond

// Disable the subscription to a provider; the apply worker is gone afterwards.
func (e Engine) Disable(ctx context.Context, c *pgx.Conn, provider string) error {
	name, id, err := e.find(ctx, c, provider)
	if err != nil {
		return err
	}
	if _, err := c.Exec(ctx, e.sql(`SELECT {sub_disable}($1, true)`), name); err != nil {
		return fmt.Errorf("disabling subscription %s: %w", name, err)
	}
	for again := time.Now(); ; {
		pids, err := e.applyWorkers(ctx, c, id)
		if err != nil {
			return err
		}
		if len(pids) == 0 {
			return nil
		}
		// A worker that was just starting has missed the signal.
		if time.Since(again) > 500*time.Millisecond {
			again = time.Now()
			if _, err := c.Exec(ctx, `SELECT pg_terminate_backend(p) FROM unnest($1::int[]) p`, pids); err != nil {
				return fmt.Errorf("ending the apply worker of %s: %w", name, err)
			}
		}
		if err := wait.For(ctx, pollEvery); err != nil {
			return fmt.Errorf("disabling subscription %s: its apply worker %v is still there: %w", name, pids, err)
		}
	}
}

// Enable the subscription to a provider.
func (e Engine) Enable(ctx context.Context, c *pgx.Conn, provider string) error {
	name, _, err := e.find(ctx, c, provider)
	if err != nil {
		return err
	}
	if _, err := c.Exec(ctx, e.sql(`SELECT {sub_enable}($1, true)`), name); err != nil {
		return fmt.Errorf("enabling subscription %s: %w", name, err)
	}
	return nil
}

// ApplyWorkers of the connected subscriber for a provider.
func (e Engine) ApplyWorkers(ctx context.Context, c *pgx.Conn, provider string) ([]int32, error) {
	_, id, err := e.find(ctx, c, provider)
	if err != nil {
		return nil, err
	}
	return e.applyWorkers(ctx, c, id)
}

// applyWorkers finds processes by the name that the extension gives them: "pglogical apply <database>:<subscription>",
// "pglogical sync <table> <database>:<subscription>".
func (e Engine) applyWorkers(ctx context.Context, c *pgx.Conn, id string) ([]int32, error) {
	rows, err := c.Query(ctx, e.sql(`SELECT pid FROM pg_stat_activity WHERE backend_type LIKE '{schema} apply %:' || $1
		OR backend_type LIKE '{schema} sync %:' || $1`), id)
	if err != nil {
		return nil, fmt.Errorf("listing apply workers: %w", err)
	}
	pids, err := pgx.CollectRows(rows, pgx.RowTo[int32])
	if err != nil {
		return nil, fmt.Errorf("listing apply workers: %w", err)
	}
	return pids, nil
}

// WalSenders of the connected provider for a subscriber.
func (e Engine) WalSenders(ctx context.Context, c *pgx.Conn, subscriber string) ([]int32, error) {
	rows, err := c.Query(ctx, e.sql(`SELECT pid FROM pg_stat_activity, (SELECT sub, {slot_name}(current_database(), node_name, sub)::text AS slot
			FROM (SELECT n.node_name, ('sub_' || n.node_name || '_' || $1)::name AS sub
				FROM {schema}.local_node l JOIN {schema}.node n USING (node_id)) s) s
		WHERE backend_type = 'walsender' AND application_name = {walsender}`), subscriber)
	if err != nil {
		return nil, fmt.Errorf("listing walsenders: %w", err)
	}
	pids, err := pgx.CollectRows(rows, pgx.RowTo[int32])
	if err != nil {
		return nil, fmt.Errorf("listing walsenders: %w", err)
	}
	return pids, nil
}

// DropNode removes the subscription to a lost node, and the slot that fed it, which would hold WAL for ever.
// pglogical tries to reach the lost node to drop the slot there: with its link stalled that
// takes until ctx is done; refuse the link first.
func (e Engine) DropNode(ctx context.Context, c *pgx.Conn, failed string) error {
	name, _, err := e.find(ctx, c, failed)
	if err != nil {
		return err
	}
	if _, err := c.Exec(ctx, e.sql(`SELECT {sub_drop}($1)`), name); err != nil {
		return fmt.Errorf("dropping subscription %s: %w", name, err)
	}
	_, err = c.Exec(ctx, e.sql(`SELECT pg_drop_replication_slot(s.slot_name) FROM pg_replication_slots s,
		{schema}.local_node l JOIN {schema}.node n USING (node_id)
		WHERE s.database = current_database() AND NOT s.active
		AND s.slot_name = {slot_name}(current_database(), n.node_name, 'sub_' || n.node_name || '_' || $1)`), failed)
	if err != nil {
		return fmt.Errorf("dropping the slot that fed %s: %w", failed, err)
	}
	return nil
}
