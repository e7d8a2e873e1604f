package scenario

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/sql"
	"github.com/spockchaos/spockchaos/topology/engine"
)

// cloneName is the copy of a recovery slot that the scenario reads. It is temporary, so it goes with its session.
const cloneName = "spockchaos_test_recovery"

// retained is what a node's recovery slot still holds of the failed node.
type retained struct {
	slot    position // of the recovery slot, in this node's WAL
	had     []decoded
	lacking []decoded // beyond the progress that was asked for
}

// readClone copies the connected node's recovery slot and reads all transactions of an origin from the copy, up to
// where the WAL is flushed now. progress, in the origin's WAL, divides them.
func readClone(ctx context.Context, c *pgx.Conn, origin string, progress position) (ret retained, err error) {
	database := c.Config().Database
	var at string
	err = c.QueryRow(ctx, `SELECT lsn::text FROM pg_copy_logical_replication_slot($1::name, $2::name, true, 'pgoutput')`,
		sql.RecoverySlotName(database), cloneName).Scan(&at)
	if err != nil {
		return ret, fmt.Errorf("copy the recovery slot: %w", err)
	}
	d := decoder{names: map[uint32]string{}}
	rows, err := c.Query(ctx, `SELECT data FROM pg_logical_slot_peek_binary_changes($1, pg_current_wal_flush_lsn(), NULL,
		'proto_version', '1', 'publication_names', 'spock_recovery,spock_recovery_insert')`, cloneName)
	if err != nil {
		return ret, fmt.Errorf("read a clone of the recovery slot: %w", err)
	}
	var message []byte
	if _, err = pgx.ForEachRow(rows, []any{&message}, func() error { return d.add(message) }); err != nil {
		return ret, fmt.Errorf("read a clone of the recovery slot: %w", err)
	}
	if _, err := c.Exec(ctx, `SELECT pg_drop_replication_slot($1)`, cloneName); err != nil {
		return ret, fmt.Errorf("drop the clone: %w", err)
	}
	if ret.slot, err = rundir.ParseLSN(at); err != nil {
		return ret, err
	}
	for _, t := range d.all {
		switch {
		case t.origin != origin:
		case t.lsn > progress:
			ret.lacking = append(ret.lacking, t)
		default:
			ret.had = append(ret.had, t)
		}
	}
	return ret, nil
}

// marksIn are the scenario's transactions among decoded ones, in order of their numbers, each as often as it is there.
func marksIn(all []decoded) (numbers []int) {
	for _, t := range all {
		numbers = append(numbers, t.marks...)
	}
	slices.Sort(numbers)
	return numbers
}

// span is the first and last commit in the origin's WAL.
func span(all []decoded) (first, last position) {
	for i, t := range all {
		if i == 0 || t.lsn < first {
			first = t.lsn
		}
		last = max(last, t.lsn)
	}
	return first, last
}

// minus are the numbers of a that are not in b.
func minus(a, b []int) (left []int) {
	for _, n := range a {
		if !slices.Contains(b, n) {
			left = append(left, n)
		}
	}
	return left
}

// progress is how far a node durably is with the failed node's WAL, and the origin that commits from there carry.
func (s *scene) progress(ctx context.Context, node string) (at position, origin string, err error) {
	err = s.on(ctx, node, func(c *pgx.Conn) error {
		subs, err := s.engine.Subscriptions(ctx, c)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(subs, func(sub engine.Subscription) bool { return sub.Provider == failed })
		if i < 0 {
			return fmt.Errorf("no subscription to %s", failed)
		}
		origin = cmp.Or(subs[i].NodeOrigin, subs[i].Origin)
		text, err := engine.Progress(ctx, c, subs[i])
		if err != nil {
			return fmt.Errorf("read its progress for %s: %w", failed, err)
		}
		at, err = rundir.ParseLSN(text)
		return err
	})
	return at, origin, err
}
