package pglogical

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/spockchaos/spockchaos/topology/engine"
)

// pollPause lies between two looks at the state of a subscription.
const pollPause = 20 * time.Millisecond

// Engine is pglogical. It holds no state.
type Engine struct{}

var _ engine.Engine = Engine{}

// New is the engine.
func New() Engine { return Engine{} }

// Name is "pglogical".
func (Engine) Name() string { return "pglogical" }

// Available looks for the library and reads the default version from the control file.
func (Engine) Available(libDir, shareDir string) (string, error) {
	lib := filepath.Join(libDir, "pglogical.so")
	if _, err := os.Stat(lib); err != nil {
		return "", fmt.Errorf("no pglogical: %s is missing", lib)
	}
	control := filepath.Join(shareDir, "extension", "pglogical.control")
	f, err := os.Open(control)
	if err != nil {
		return "", fmt.Errorf("no pglogical: %w", err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if key, value, ok := strings.Cut(s.Text(), "="); ok && strings.TrimSpace(key) == "default_version" {
			return strings.Trim(strings.TrimSpace(value), "'"), nil
		}
	}
	return "", fmt.Errorf("no pglogical: %s names no default_version", control)
}

// Settings are what pglogical needs of a server. Timeouts are short, so that a dead
// link is noticed within seconds; apply commits asynchronously, pglogical's own default.
func (Engine) Settings(int) map[string]string {
	return map[string]string{
		"shared_preload_libraries":      "pglogical",
		"wal_level":                     "logical",
		"track_commit_timestamp":        "on",
		"pglogical.conflict_resolution": "last_update_wins",
		"pglogical.conflict_log_level":  "log",
		"pglogical.synchronous_commit":  "off",
		"output_plugin_libraries":       "pgoutput, test_decoding, pglogical_output",
	}
}

// subscription is the name of the subscription by which subscriber reads provider. It is
// part of the slot's name on the provider, so it must differ from subscriber to subscriber.
func subscription(subscriber, provider string) string { return subscriber + "_from_" + provider }

// Wire makes every member a node and subscribes each to each other.
func (e Engine) Wire(ctx context.Context, members []engine.Member) error {
	// All nodes must exist before anybody subscribes.
	if err := engine.EachMember(ctx, members, func(ctx context.Context, m engine.Member, c *pgx.Conn) error {
		if _, err := c.Exec(ctx, "CREATE EXTENSION IF NOT EXISTS pglogical"); err != nil {
			return err
		}
		_, err := c.Exec(ctx, `SELECT pglogical.create_node($1::name, $2)
			WHERE NOT EXISTS (SELECT FROM pglogical.local_node)`, m.Name, m.DSN)
		return err
	}); err != nil {
		return fmt.Errorf("create pglogical nodes: %w", err)
	}
	return engine.EachMember(ctx, members, func(ctx context.Context, m engine.Member, c *pgx.Conn) error {
		for _, p := range members {
			if p.Name == m.Name {
				continue
			}
			if err := e.subscribe(ctx, c, p, m.Name); err != nil {
				return fmt.Errorf("subscribe to %s: %w", p.Name, err)
			}
		}
		for _, p := range members {
			if p.Name == m.Name {
				continue
			}
			if err := e.waitStatus(ctx, c, p.Name, "replicating"); err != nil {
				return err
			}
		}
		return nil
	})
}

func (Engine) subscribe(ctx context.Context, c *pgx.Conn, provider engine.Member, subscriber string) error {
	dsn, ok := provider.PeerDSN[subscriber]
	if !ok {
		return fmt.Errorf("no conninfo by which %s reaches it", subscriber)
	}
	_, err := c.Exec(ctx, `SELECT pglogical.create_subscription(
			subscription_name := $1::name, provider_dsn := $2,
			synchronize_structure := false, synchronize_data := false, forward_origins := '{}')
		WHERE NOT EXISTS (SELECT FROM pglogical.subscription WHERE sub_name = $1::name)`,
		subscription(subscriber, provider.Name), dsn)
	return err
}

// waitStatus waits until the subscription to provider has a status; ctx bounds the wait.
func (e Engine) waitStatus(ctx context.Context, c *pgx.Conn, provider, want string) error {
	for {
		subs, err := e.Subscriptions(ctx, c)
		if err != nil {
			return err
		}
		status := "missing"
		for _, s := range subs {
			if s.Provider == provider {
				status = s.Status
			}
		}
		if status == want {
			return nil
		}
		if err := engine.Pause(ctx, pollPause); err != nil {
			return fmt.Errorf("subscription to %s is %s, not %s: %w", provider, status, want, err)
		}
	}
}

// AddTables puts the tables into the sets that every subscription subscribes to.
func (Engine) AddTables(ctx context.Context, c *pgx.Conn, keyed, insertOnly []string) error {
	for set, tables := range map[string][]string{"default": keyed, "default_insert_only": insertOnly} {
		for _, t := range tables {
			_, err := c.Exec(ctx, `SELECT pglogical.replication_set_add_table($1::name, $2::regclass, false)
				WHERE NOT EXISTS (SELECT FROM pglogical.replication_set_table t
				                    JOIN pglogical.replication_set s USING (set_id)
				                   WHERE s.set_name = $1::name AND t.set_reloid = $2::regclass)`, set, t)
			if err != nil {
				return fmt.Errorf("add table %s to replication set %s: %w", t, set, err)
			}
		}
	}
	return nil
}

// Subscriptions of the connected node.
func (Engine) Subscriptions(ctx context.Context, c *pgx.Conn) ([]engine.Subscription, error) {
	rows, err := c.Query(ctx, `
		SELECT s.sub_name::text, n.node_name::text, st.status, s.sub_slot_name::text
		  FROM pglogical.subscription s
		  JOIN pglogical.node n ON n.node_id = s.sub_origin
		  JOIN pglogical.show_subscription_status() st ON st.subscription_name = s.sub_name::text
		 ORDER BY 2`)
	if err != nil {
		return nil, fmt.Errorf("read subscriptions: %w", err)
	}
	subs, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (s engine.Subscription, err error) {
		err = r.Scan(&s.Name, &s.Provider, &s.Status, &s.Slot)
		s.Origin = s.Slot // pglogical gives both one name
		return s, err
	})
	if err != nil {
		return nil, fmt.Errorf("read subscriptions: %w", err)
	}
	return subs, nil
}

// Disable stops the subscription to a provider and waits until its apply worker is gone.
func (e Engine) Disable(ctx context.Context, c *pgx.Conn, provider string) error {
	_, err := c.Exec(ctx, `SELECT pglogical.alter_subscription_disable(s.sub_name, true)
		FROM pglogical.subscription s JOIN pglogical.node n ON n.node_id = s.sub_origin
		WHERE n.node_name = $1::name`, provider)
	if err != nil {
		return fmt.Errorf("disable the subscription to %s: %w", provider, err)
	}
	for {
		pids, err := e.ApplyWorkers(ctx, c, provider)
		if err != nil {
			return err
		}
		if len(pids) == 0 {
			return nil
		}
		if err := engine.Pause(ctx, pollPause); err != nil {
			return fmt.Errorf("disable the subscription to %s: apply worker %d is still there: %w", provider, pids[0], err)
		}
	}
}

// Enable starts the subscription to a provider again.
func (Engine) Enable(ctx context.Context, c *pgx.Conn, provider string) error {
	_, err := c.Exec(ctx, `SELECT pglogical.alter_subscription_enable(s.sub_name, true)
		FROM pglogical.subscription s JOIN pglogical.node n ON n.node_id = s.sub_origin
		WHERE n.node_name = $1::name`, provider)
	if err != nil {
		return fmt.Errorf("enable the subscription to %s: %w", provider, err)
	}
	return nil
}

// ApplyWorkers finds them by the application name that pglogical gives them,
// "pglogical apply <database oid>:<subscription id>".
func (Engine) ApplyWorkers(ctx context.Context, c *pgx.Conn, provider string) ([]int32, error) {
	return pids(ctx, c, "apply workers for "+provider, `
		SELECT a.pid
		  FROM pglogical.subscription s
		  JOIN pglogical.node n ON n.node_id = s.sub_origin
		  JOIN pg_stat_activity a ON a.application_name LIKE format('pglogical apply %%:%s', s.sub_id)
		 WHERE n.node_name = $1::name AND a.backend_type <> 'client backend'`, provider)
}

// WalSenders finds them by the slot that they read, whose name pglogical makes of the
// database, the provider and the subscription.
func (Engine) WalSenders(ctx context.Context, c *pgx.Conn, subscriber string) ([]int32, error) {
	return pids(ctx, c, "walsenders for "+subscriber, `
		SELECT r.active_pid
		  FROM pglogical.local_node l
		  JOIN pglogical.node n USING (node_id)
		  JOIN pg_replication_slots r
		    ON r.slot_name = pglogical.pglogical_gen_slot_name(current_database(), n.node_name, ($1 || '_from_' || n.node_name)::name)
		 WHERE r.active_pid IS NOT NULL`, subscriber)
}

func pids(ctx context.Context, c *pgx.Conn, what, query, arg string) ([]int32, error) {
	rows, err := c.Query(ctx, query, arg)
	if err != nil {
		return nil, fmt.Errorf("look for %s: %w", what, err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[int32])
	if err != nil {
		return nil, fmt.Errorf("look for %s: %w", what, err)
	}
	return found, nil
}

// DropNode drops the subscription to a lost node, with its origin.
func (Engine) DropNode(ctx context.Context, c *pgx.Conn, failed string) error {
	_, err := c.Exec(ctx, `SELECT pglogical.drop_subscription(s.sub_name, true)
		FROM pglogical.subscription s JOIN pglogical.node n ON n.node_id = s.sub_origin
		WHERE n.node_name = $1::name`, failed)
	if err != nil {
		return fmt.Errorf("drop the subscription to %s: %w", failed, err)
	}
	return nil
}
