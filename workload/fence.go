package workload

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// lockClass is the first key of every session's advisory lock; the second is its number.
const lockClass = 7001

// fenceLimit bounds one wait for an old backend to go; the session then connects anew.
const fenceLimit = 10 * time.Second

// applicationName is what a session's backends are called in pg_stat_activity.
func applicationName(session int) string { return fmt.Sprintf("chaos-s%d", session) }

// fence returns when w's backend holds the session's advisory lock. A backend keeps
// that lock from before its first operation to its end, and releases it after its
// transaction is over. So when fence returns, no operation that an earlier backend of
// the session was sent can commit any more, and what it committed is visible.
//
// An old backend that still holds the lock is terminated, if it is one of the session's.
func fence(ctx context.Context, w *wire, session int, limit time.Duration) error {
	name := applicationName(session)
	take := fmt.Sprintf("select pg_try_advisory_lock(%d, %d)", lockClass, session)
	// objsubid 2 marks the form of the lock with two keys.
	end := fmt.Sprintf(`select pg_terminate_backend(a.pid) from pg_locks l join pg_stat_activity a on a.pid = l.pid
		where l.locktype = 'advisory' and l.objsubid = 2 and l.classid = %d and l.objid = %d and l.granted
		and l.database = (select oid from pg_database where datname = current_database())
		and a.application_name = '%s' and a.pid <> pg_backend_pid()`, lockClass, session, name)

	until := time.Now().Add(fenceLimit)
	for wait := 5 * time.Millisecond; ; wait = min(2*wait, 200*time.Millisecond) {
		held := false
		err := w.simple(limit, take, func(values [][]byte) { held = len(values) == 1 && string(values[0]) == "t" })
		if err != nil {
			return fmt.Errorf("take the session's lock: %w", err)
		}
		if held {
			return nil
		}
		if err := w.simple(limit, end, nil); err != nil {
			return fmt.Errorf("terminate the session's old backend: %w", err)
		}
		if time.Now().After(until) {
			return errors.New("the session's old backend keeps its lock")
		}
		if !pause(ctx, wait) {
			return ctx.Err()
		}
	}
}

// simple runs one statement by the simple protocol; values come as text.
func (w *wire) simple(limit time.Duration, sql string, row func(values [][]byte)) error {
	w.fe.SendQuery(&pgproto3.Query{String: sql})
	if err := w.deadline(limit); err != nil {
		return err
	}
	if err := w.fe.Flush(); err != nil {
		return err
	}
	r := w.receive(row)
	return r.failure()
}

// pause waits for d; false if ctx is done before.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
