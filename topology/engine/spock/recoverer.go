package spock

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/spockchaos/spockchaos/topology/engine"
	"github.com/spockchaos/spockchaos/topology/wait"
)

// The builds that have slot and rescue in C come from the branch RECOVERY-SLOT-20251117 of pgEdge/spock and the pull requests that followed it (227,
// 249, 258, 263, 269); no release has them. Their manager worker makes the slot when it starts.

// ownSetting is the setting that those builds have and others do not.
const ownSetting = "spock.enable_recovery_slots"

// ownFunctions are what the harness, and whoever rescues, calls of those builds.
const ownFunctions = `SELECT coalesce(string_agg(f, ', ' ORDER BY i), '') FROM unnest(ARRAY[
	'spock.get_recovery_slot_status()', 'spock.clone_recovery_slot(pg_lsn)',
	'spock.create_rescue_subscription(name,name,text,pg_lsn,pg_lsn,timestamptz)',
	'spock.suspend_all_peer_subs_for_rescue(oid,oid)', 'spock.resume_all_peer_subs_post_rescue(oid)']) WITH ORDINALITY u (f, i)
	WHERE to_regprocedure(f) IS NULL`

// OwnRecovery looks for the setting and, once the extension is there, for the functions.
func (Engine) OwnRecovery(ctx context.Context, c *pgx.Conn) (lacks string, err error) {
	var setting, extension bool
	err = c.QueryRow(ctx, `SELECT current_setting($1, true) IS NOT NULL, EXISTS (SELECT FROM pg_extension WHERE extname = 'spock')`, ownSetting).Scan(&setting, &extension)
	switch {
	case err != nil:
		return "", fmt.Errorf("looking for %s: %w", ownSetting, err)
	case !setting:
		return "setting " + ownSetting, nil
	case !extension:
		return "", nil
	}
	if err := c.QueryRow(ctx, ownFunctions).Scan(&lacks); err != nil {
		return "", fmt.Errorf("looking for the functions of the server's own rescue: %w", err)
	}
	return lacks, nil
}

// HoldOwnSlot switches the setting off.
func (Engine) HoldOwnSlot(ctx context.Context, c *pgx.Conn) error {
	for _, s := range []string{"ALTER SYSTEM SET " + ownSetting + " = off", "SELECT pg_reload_conf()"} {
		if _, err := c.Exec(ctx, s); err != nil {
			return fmt.Errorf("switching %s off: %w", ownSetting, err)
		}
	}
	for {
		var is string
		if err := c.QueryRow(ctx, "SELECT current_setting($1)", ownSetting).Scan(&is); err != nil {
			return fmt.Errorf("looking whether %s is off: %w", ownSetting, err)
		}
		if is == "off" {
			return nil
		}
		if err := wait.For(ctx, 10*time.Millisecond); err != nil {
			return fmt.Errorf("%s is still %s after it was switched off: %w", ownSetting, is, err)
		}
	}
}

// FreeOwnSlot gives the setting its default again.
func (Engine) FreeOwnSlot(ctx context.Context, c *pgx.Conn) error {
	if _, err := c.Exec(ctx, "ALTER SYSTEM RESET "+ownSetting); err != nil {
		return fmt.Errorf("giving %s its default again: %w", ownSetting, err)
	}
	return nil
}

// rescueFlag is an expression for a flag of a subscription, false in builds without that column.
func rescueFlag(subscription, column string) string {
	return fmt.Sprintf("coalesce((to_jsonb(%s) ->> '%s')::boolean, false)", subscription, column)
}

// OwnRescues lists rescue subscriptions.
func (Engine) OwnRescues(ctx context.Context, c *pgx.Conn) ([]engine.OwnRescue, error) {
	rows, err := c.Query(ctx, `SELECT s.sub_name::text, n.node_name::text, coalesce(to_jsonb(s) ->> 'sub_rescue_stop_lsn', '0/0')
		FROM spock.subscription s JOIN spock.node n ON n.node_id = s.sub_origin WHERE `+rescueFlag("s", "sub_rescue_temporary")+` ORDER BY 1`)
	if err != nil {
		return nil, fmt.Errorf("listing rescue subscriptions: %w", err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[engine.OwnRescue])
	if err != nil {
		return nil, fmt.Errorf("listing rescue subscriptions: %w", err)
	}
	return found, nil
}

// OwnLeftovers finds rescue subscriptions and subscriptions that are still suspended for one.
func (Engine) OwnLeftovers(ctx context.Context, c *pgx.Conn) ([]engine.Leftover, error) {
	rows, err := c.Query(ctx, fmt.Sprintf(`SELECT CASE WHEN temporary THEN 'rescue subscription' ELSE 'subscription suspended for a rescue' END, name,
			concat_ws(', ', 'provider ' || provider, CASE WHEN enabled THEN 'enabled' ELSE 'disabled' END, CASE WHEN pending THEN 'cleanup pending' END, CASE WHEN failed THEN 'marked as failed' END)
		FROM (SELECT s.sub_name::text AS name, n.node_name::text AS provider, s.sub_enabled AS enabled, %s AS temporary, %s AS suspended, %s AS pending, %s AS failed
			FROM spock.subscription s JOIN spock.node n ON n.node_id = s.sub_origin) s
		WHERE temporary OR suspended ORDER BY name`,
		rescueFlag("s", "sub_rescue_temporary"), rescueFlag("s", "sub_rescue_suspended"), rescueFlag("s", "sub_rescue_cleanup_pending"), rescueFlag("s", "sub_rescue_failed")))
	if err != nil {
		return nil, fmt.Errorf("looking for subscriptions of a rescue: %w", err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[engine.Leftover])
	if err != nil {
		return nil, fmt.Errorf("looking for subscriptions of a rescue: %w", err)
	}
	return found, nil
}
