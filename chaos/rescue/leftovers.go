package rescue

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/topology/engine"
)

// LeftSubscription is what is left of a lost node that was not removed from a survivor.
const LeftSubscription = "subscription to the failed node"

// Leftovers looks on a survivor for what a rescue should have taken away or put
// back. It is called when all faults were healed, so nothing else may be missing. lost is
// the node that was lost, "" for none.
func Leftovers(ctx context.Context, c *pgx.Conn, eng engine.Engine, node, lost string) ([]rundir.Leftover, error) {
	var found []rundir.Leftover
	add := func(what, name, detail string) {
		found = append(found, rundir.Leftover{Node: node, What: what, Name: name, Detail: detail})
	}
	subs, err := eng.Subscriptions(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("look for leftovers on %s: %w", node, err)
	}
	own := map[string]bool{}
	if r, ok := eng.(engine.Recoverer); ok {
		left, err := r.OwnLeftovers(ctx, c)
		if err != nil {
			return nil, fmt.Errorf("look for leftovers on %s: %w", node, err)
		}
		for _, l := range left {
			add(l.What, l.Name, l.Detail)
			own[l.Name] = true
		}
	}
	for _, s := range subs {
		switch {
		case own[s.Name]: // it was told
		case s.Provider == lost:
			add(LeftSubscription, s.Name, s.Status)
		case s.Status == "disabled":
			add("subscription disabled", s.Name, "provider "+s.Provider)
		}
	}
	rows, err := c.Query(ctx, leftoversSQL)
	if err != nil {
		return nil, fmt.Errorf("look for leftovers on %s: %w", node, err)
	}
	defer rows.Close()
	for rows.Next() {
		var what, name, detail string
		if err := rows.Scan(&what, &name, &detail); err != nil {
			return nil, fmt.Errorf("look for leftovers on %s: %w", node, err)
		}
		add(what, name, detail)
	}
	return found, rows.Err()
}

// leftoversSQL finds clone slots, disabled triggers and sessions of a rescue that never ended (a rescue's procedures
// are called; what managers ask of each other all the time is selected).
const leftoversSQL = `
SELECT 'clone slot', slot_name::text, coalesce('restart_lsn ' || restart_lsn, 'no restart_lsn')
  FROM pg_replication_slots WHERE slot_name LIKE 'spk\_rescue\_clone%' OR slot_name LIKE 'spock\_rescue\_clone%'
UNION ALL
SELECT 'trigger disabled', t.tgname::text, t.tgrelid::regclass::text
  FROM pg_trigger t WHERE t.tgenabled = 'D' AND NOT t.tgisinternal
UNION ALL
SELECT 'session', a.application_name, 'pid ' || a.pid || ': ' || left(a.query, 60)
  FROM pg_stat_activity a
 WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND a.backend_type = 'client backend'
   AND a.query LIKE 'CALL spock.recover%' AND a.state <> 'idle'`
