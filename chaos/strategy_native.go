package chaos

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/topology"
	"github.com/spockchaos/spockchaos/topology/wait"
)

// nativeCall is the procedure of the branch's samples/recovery/recovery.sql, which its users load on the coordinator.
const nativeCall = "spock.recovery(text,text,text,text,text,pg_lsn,pg_lsn,timestamptz,boolean)"

// nativeStrategy is the rescue of the server's own: the CALL, where --recovery-sql has put it there, or else what the CALL is
// made of, the extension's functions in the order of that file.
type nativeStrategy struct{}

func (n nativeStrategy) Rescue(ctx context.Context, cluster topology.Cluster, r Recovery, notice func(string)) error {
	err := n.attempt(ctx, cluster, r, notice)
	if err == nil || ctx.Err() == nil {
		return err
	}
	for _, node := range []string{r.Source, r.Target} {
		waits, lookErr := stuckIn(ctx, cluster, node)
		if lookErr != nil {
			notice(lookErr.Error())
		}
		for _, w := range waits {
			err = fmt.Errorf("%w; %s", err, w)
		}
	}
	return err
}

// stuckAfter is how long a session waits for a lock of the server's own before it is said to be stuck. No server holds one that long.
const stuckAfter = 5 * time.Second

// stuckIn says, of an attempt whose time is over, which sessions of a node wait for a lock of the server's own (LWLock): neither a cancellation nor a
// timeout of the server's ends that.
func stuckIn(ctx context.Context, cluster topology.Cluster, node string) (waits []string, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stuckAfter)
	defer cancel()
	err = onNode(ctx, cluster, node, func(c *pgx.Conn) error {
		rows, err := c.Query(ctx, `SELECT format('backend %s of %s has been waiting for LWLock %s for %s s in: %s', pid, $1::text, wait_event,
				extract(epoch FROM clock_timestamp() - query_start)::int, left(regexp_replace(query, '\s+', ' ', 'g'), 80))
			FROM pg_stat_activity WHERE wait_event_type = 'LWLock' AND backend_type = 'client backend' AND clock_timestamp() - query_start > $2::float8 * interval '1 second'
			ORDER BY query_start`, node, stuckAfter.Seconds())
		if err != nil {
			return err
		}
		waits, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look for sessions of %s that are stuck: %w", node, err)
	}
	return waits, nil
}

func (nativeStrategy) attempt(ctx context.Context, cluster topology.Cluster, r Recovery, notice func(string)) error {
	var loaded bool
	err := onNode(ctx, cluster, r.Coordinator, func(c *pgx.Conn) error {
		return c.QueryRow(ctx, "SELECT to_regprocedure($1) IS NOT NULL", nativeCall).Scan(&loaded)
	})
	if err != nil {
		return fmt.Errorf("look for spock.recovery on %s: %w", r.Coordinator, err)
	}
	if loaded {
		// In that file both conninfos are the coordinator's: it speaks to source and target over dblink.
		return callRecovery(ctx, cluster, r, fromCoordinator(cluster, r, r.Source), notice)
	}
	return onNode(ctx, cluster, r.Source, func(source *pgx.Conn) error {
		return onNode(ctx, cluster, r.Target, func(target *pgx.Conn) error {
			return (&nativeSteps{Recovery: r, source: source, target: target, notice: notice}).run(ctx)
		})
	})
}

// nativeSteps is one rescue by the extension's functions. Every step says what came of it.
type nativeSteps struct {
	Recovery
	source, target *pgx.Conn
	notice         func(string)
}

func (s *nativeSteps) say(format string, args ...any) { s.notice(fmt.Sprintf(format, args...)) }

func (s *nativeSteps) run(ctx context.Context) error {
	needed, err := s.precheck(ctx)
	if err != nil || !needed {
		return err
	}
	clone, restart, err := s.clone(ctx)
	if err != nil {
		return err
	}
	skip, stop, err := s.bounds(ctx, clone, restart)
	if err != nil {
		return err
	}
	var suspended bool
	if err := s.target.QueryRow(ctx, `SELECT spock.suspend_all_peer_subs_for_rescue(t.node_id, f.node_id) FROM spock.node t, spock.node f
		WHERE t.node_name = $1 AND f.node_name = $2`, s.Target, s.Failed).Scan(&suspended); err != nil {
		return fmt.Errorf("suspend the subscriptions of %s: %w", s.Target, err)
	}
	s.say("suspend_all_peer_subs_for_rescue on %s: %t", s.Target, suspended)
	var id uint32
	if err := s.target.QueryRow(ctx, `SELECT spock.create_rescue_subscription($1::name, $2::name, $3::text, $4::text::pg_lsn, $5::text::pg_lsn, NULL::timestamptz)`,
		s.Target, s.Source, clone, skip, stop).Scan(&id); err != nil {
		return fmt.Errorf("create the rescue subscription on %s: %w", s.Target, err)
	}
	s.say("create_rescue_subscription on %s from slot %s of %s: subscription %d", s.Target, clone, s.Source, id)
	failed, err := s.await(ctx)
	if err != nil {
		return err
	}
	if err := s.finish(ctx, clone); err != nil {
		return err
	}
	if failed {
		return errors.New("the server marked the rescue subscription as failed")
	}
	return nil
}

// precheck asks what recover_precheck asks: is there something to rescue, and does no other rescue stand in the way?
func (s *nativeSteps) precheck(ctx context.Context) (needed bool, err error) {
	var subscriptions int
	var rescue *string
	if err := s.target.QueryRow(ctx, `SELECT count(*) FILTER (WHERE n.node_name = $1 AND NOT s.sub_rescue_temporary), min(s.sub_name::text) FILTER (WHERE s.sub_rescue_temporary)
		FROM spock.subscription s JOIN spock.node n ON n.node_id = s.sub_origin`, s.Failed).Scan(&subscriptions, &rescue); err != nil {
		return false, fmt.Errorf("look at the subscriptions of %s: %w", s.Target, err)
	}
	switch {
	case rescue != nil:
		return false, fmt.Errorf("target %s has rescue subscription %s already", s.Target, *rescue)
	case subscriptions == 0:
		s.say("no rescue needed: %s has no subscription to %s", s.Target, s.Failed)
	}
	return subscriptions > 0, nil
}

// clone copies the recovery slot on the source.
func (s *nativeSteps) clone(ctx context.Context) (name string, restart *string, err error) {
	var cloned, message *string
	var success *bool
	err = s.source.QueryRow(ctx, `SELECT cloned_slot_name, restart_lsn::text, success, message FROM spock.clone_recovery_slot(NULL::pg_lsn)`).Scan(&cloned, &restart, &success, &message)
	switch {
	case err != nil:
		return "", nil, fmt.Errorf("clone the recovery slot of %s: %w", s.Source, err)
	case success == nil || !*success || cloned == nil:
		return "", nil, fmt.Errorf("clone_recovery_slot on %s did not succeed: %s", s.Source, orNull(message))
	}
	s.say("clone_recovery_slot on %s: slot %s, restart_lsn %s", s.Source, *cloned, orNull(restart))
	return *cloned, restart, nil
}

// bounds are the positions from which and up to which the rescue subscription shall apply, as recover_phase_clone chooses them where
// its caller does not: it prefers the slot's, which is one in the source's WAL, and takes a node's progress for the failed node, which is one in the failed node's
// WAL, if there is none. skip nil: from the slot's beginning.
func (s *nativeSteps) bounds(ctx context.Context, clone string, restart *string) (skip *string, stop string, err error) {
	var position *string
	var end string
	if err := s.source.QueryRow(ctx, `SELECT (SELECT coalesce(confirmed_flush_lsn, restart_lsn)::text FROM pg_replication_slots WHERE slot_name = $1),
		pg_current_wal_flush_lsn()::text`, clone).Scan(&position, &end); err != nil {
		return nil, "", fmt.Errorf("look at slot %s on %s: %w", clone, s.Source, err)
	}
	if position == nil {
		position = restart
	}
	progressOf := func(node string) string {
		return fmt.Sprintf("the progress of %s for %s, a position in %[2]s's WAL", node, s.Failed)
	}
	stopIs, skipIs := "the position of the slot", progressOf(s.Target)
	if position == nil {
		if position, err = s.progress(ctx, s.source, s.Source); err != nil {
			return nil, "", err
		}
		stopIs = progressOf(s.Source)
	}
	if position == nil {
		return nil, "", fmt.Errorf("there is no stop position: neither slot %s nor the origin of %s on %s has one", clone, s.Failed, s.Source)
	}
	if skip, err = s.progress(ctx, s.target, s.Target); err != nil {
		return nil, "", err
	}
	if skip == nil {
		skip, skipIs = restart, "the position of the slot"
	}
	if skip != nil {
		from, err := rundir.ParseLSN(*skip)
		if err != nil {
			return nil, "", err
		}
		to, err := rundir.ParseLSN(*position)
		if err != nil {
			return nil, "", err
		}
		if from >= to {
			skip = nil
		}
	}
	if skip == nil {
		skipIs = "from the slot's beginning"
	}
	s.say("stop position %s: %s; skip position %s: %s; the WAL of %s, from which is read, ends at %s", *position, stopIs, orNull(skip), skipIs, s.Source, end)
	return skip, *position, nil
}

// progress is how far a node says that it has come with the failed node; nil: it does not.
func (s *nativeSteps) progress(ctx context.Context, c *pgx.Conn, node string) (lsn *string, err error) {
	err = c.QueryRow(ctx, `SELECT (SELECT max(o.remote_lsn)::text FROM spock.subscription s JOIN spock.node n ON n.node_id = s.sub_origin
		JOIN pg_replication_origin_status o ON o.external_id = s.sub_slot_name::text WHERE n.node_name = $1 AND NOT s.sub_rescue_temporary)`, s.Failed).Scan(&lsn)
	if err != nil {
		err = fmt.Errorf("read the progress of %s for %s: %w", node, s.Failed, err)
	}
	return lsn, err
}

// await waits until the server has taken the rescue subscription away again, and tells whether it called it failed.
func (s *nativeSteps) await(ctx context.Context) (failed bool, err error) {
	began, said := time.Now(), ""
	for {
		var name *string
		var pending, bad bool
		err := s.target.QueryRow(ctx, `SELECT min(sub_name::text), coalesce(bool_or(sub_rescue_cleanup_pending), false), coalesce(bool_or(sub_rescue_failed), false)
			FROM spock.subscription WHERE sub_rescue_temporary`).Scan(&name, &pending, &bad)
		if err != nil {
			return failed, fmt.Errorf("look at the rescue subscription on %s, which was %s: %w", s.Target, said, err)
		}
		if name == nil {
			s.say("the rescue subscription is gone after %s", time.Since(began).Round(time.Millisecond))
			return failed, nil
		}
		failed = failed || bad
		state := "applying"
		switch {
		case bad:
			state = "marked as failed"
		case pending:
			state = "waiting for its cleanup"
		}
		if state != said {
			said = state
			s.say("subscription %s is %s", *name, state)
		}
		if err := wait.For(ctx, pollPause); err != nil {
			return failed, fmt.Errorf("rescue subscription %s is still %s after %s: %w", *name, state, time.Since(began).Round(time.Millisecond), err)
		}
	}
}

// finish is recover_finalize: it resumes what was suspended and drops the clone, if that is still there.
func (s *nativeSteps) finish(ctx context.Context, clone string) error {
	var resumed bool
	if err := s.target.QueryRow(ctx, `SELECT spock.resume_all_peer_subs_post_rescue(node_id) FROM spock.node WHERE node_name = $1`, s.Target).Scan(&resumed); err != nil {
		return fmt.Errorf("resume the subscriptions of %s: %w", s.Target, err)
	}
	s.say("resume_all_peer_subs_post_rescue on %s: %t", s.Target, resumed)
	tag, err := s.source.Exec(ctx, `SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1`, clone)
	if err != nil {
		return fmt.Errorf("drop slot %s on %s: %w", clone, s.Source, err)
	}
	s.say("pg_drop_replication_slot on %s: %d slots", s.Source, tag.RowsAffected())
	return nil
}

// orNull shows a value that may be NULL.
func orNull(s *string) string {
	if s == nil {
		return "NULL"
	}
	return *s
}
