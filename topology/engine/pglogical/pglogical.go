package pglogical

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/spockchaos/spockchaos/topology/engine"
	"github.com/spockchaos/spockchaos/topology/wait"
)

// Engine is the adapter. Its zero value is ready.
type Engine struct{}

var _ engine.Engine = Engine{}

// New is the pglogical engine.
func New() Engine { return Engine{} }

// Name is "pglogical".
func (Engine) Name() string { return "pglogical" }

// Available looks for the extension's files.
func (Engine) Available(in engine.Installation) (string, error) {
	for _, lib := range []string{"pglogical.so", "pglogical_output.so"} {
		if err := in.Library(lib); err != nil {
			return "", fmt.Errorf("no pglogical: %w", err)
		}
	}
	control, err := in.Control("pglogical")
	if err != nil {
		return "", fmt.Errorf("no pglogical: %w", err)
	}
	return engine.ControlVersion("pglogical", control)
}

// Settings for servers.
func (Engine) Settings(int) map[string]string {
	return map[string]string{
		"shared_preload_libraries":      "pglogical",
		"pglogical.conflict_resolution": "last_update_wins",
		// Every resolved conflict is in the server log, so that a row which lost is explained.
		"pglogical.conflict_log_level": "log",
		// pglogical's default, said aloud: apply workers do not wait for their commits.
		"pglogical.synchronous_commit": "off",
	}
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
func (Engine) AddTables(ctx context.Context, c *pgx.Conn, keyed, insertOnly []string) error {
	add := func(set string, tables []string) error {
		for _, t := range tables {
			_, err := c.Exec(ctx, `SELECT pglogical.replication_set_add_table($1, $2::text::regclass, false)
				WHERE NOT EXISTS (SELECT FROM pglogical.replication_set_table t JOIN pglogical.replication_set s ON s.set_id = t.set_id
					WHERE s.set_name = $1 AND t.set_reloid = $2::text::regclass)`, set, t)
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

// Subscriptions of the connected node.
func (Engine) Subscriptions(ctx context.Context, c *pgx.Conn) ([]engine.Subscription, error) {
	rows, err := c.Query(ctx, `SELECT subscription_name, provider_node, status, slot_name
		FROM pglogical.show_subscription_status() ORDER BY 1`)
	if err != nil {
		return nil, fmt.Errorf("listing subscriptions: %w", err)
	}
	all, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (engine.Subscription, error) {
		var s engine.Subscription
		err := r.Scan(&s.Name, &s.Provider, &s.Status, &s.Slot)
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
func find(ctx context.Context, c *pgx.Conn, provider string) (name, id string, err error) {
	err = c.QueryRow(ctx, `SELECT sub_name::text, sub_id::text FROM pglogical.subscription s
		JOIN pglogical.node n ON n.node_id = s.sub_origin WHERE n.node_name = $1`, provider).Scan(&name, &id)
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
	name, id, err := find(ctx, c, provider)
	if err != nil {
		return err
	}
	if _, err := c.Exec(ctx, `SELECT pglogical.alter_subscription_disable($1, true)`, name); err != nil {
		return fmt.Errorf("disabling subscription %s: %w", name, err)
	}
	for again := time.Now(); ; {
		pids, err := applyWorkers(ctx, c, id)
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
func (Engine) Enable(ctx context.Context, c *pgx.Conn, provider string) error {
	name, _, err := find(ctx, c, provider)
	if err != nil {
		return err
	}
	if _, err := c.Exec(ctx, `SELECT pglogical.alter_subscription_enable($1, true)`, name); err != nil {
		return fmt.Errorf("enabling subscription %s: %w", name, err)
	}
	return nil
}

// ApplyWorkers of the connected subscriber for a provider.
func (Engine) ApplyWorkers(ctx context.Context, c *pgx.Conn, provider string) ([]int32, error) {
	_, id, err := find(ctx, c, provider)
	if err != nil {
		return nil, err
	}
	return applyWorkers(ctx, c, id)
}

// applyWorkers finds processes by the name that pglogical gives them, "pglogical apply <database>:<subscription>".
func applyWorkers(ctx context.Context, c *pgx.Conn, id string) ([]int32, error) {
	rows, err := c.Query(ctx, `SELECT pid FROM pg_stat_activity WHERE backend_type LIKE 'pglogical apply %:' || $1
		OR backend_type LIKE 'pglogical sync %:' || $1`, id)
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
func (Engine) WalSenders(ctx context.Context, c *pgx.Conn, subscriber string) ([]int32, error) {
	rows, err := c.Query(ctx, `SELECT pid FROM pg_stat_activity, pglogical.local_node l JOIN pglogical.node n USING (node_id)
		WHERE backend_type = 'walsender' AND application_name = 'sub_' || n.node_name || '_' || $1`, subscriber)
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
	name, _, err := find(ctx, c, failed)
	if err != nil {
		return err
	}
	if _, err := c.Exec(ctx, `SELECT pglogical.drop_subscription($1)`, name); err != nil {
		return fmt.Errorf("dropping subscription %s: %w", name, err)
	}
	_, err = c.Exec(ctx, `SELECT pg_drop_replication_slot(s.slot_name) FROM pg_replication_slots s,
		pglogical.local_node l JOIN pglogical.node n USING (node_id)
		WHERE s.database = current_database() AND NOT s.active
		AND s.slot_name = pglogical.pglogical_gen_slot_name(current_database(), n.node_name, 'sub_' || n.node_name || '_' || $1)`, failed)
	if err != nil {
		return fmt.Errorf("dropping the slot that fed %s: %w", failed, err)
	}
	return nil
}
