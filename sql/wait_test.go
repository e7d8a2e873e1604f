package sql_test

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/spockchaos/spockchaos/topology/engine"
)

const (
	// limit of every wait for what replication or a manager brings about.
	limit = 90 * time.Second
	// pollEvery is how often a wait asks.
	pollEvery = 50 * time.Millisecond
	// wakeAfter is how long an enabled subscription may be without an apply worker, as in a run (docs/findings.md, 1).
	wakeAfter = 6 * time.Second
)

// until asks done until it says true, and restarts subscriptions that the engine left without a worker; false after the limit.
func (m *mesh) until(done func() bool) bool {
	m.t.Helper()
	w := waker{m: m, idle: map[[2]string]time.Time{}}
	for deadline := time.Now().Add(limit); !done(); time.Sleep(pollEvery) {
		if time.Now().After(deadline) {
			return false
		}
		w.look()
	}
	return true
}

// waker does in a long wait what a run does when it quiesces: docs/findings.md, 1.
type waker struct {
	m    *mesh
	next time.Time
	idle map[[2]string]time.Time // by subscriber and provider: since when it has no apply worker
}

func (w *waker) look() {
	w.m.t.Helper()
	if time.Now().Before(w.next) {
		return
	}
	w.next = time.Now().Add(time.Second)
	for _, node := range w.m.names {
		if w.m.down[node] {
			continue
		}
		ctx, cancel := context.WithTimeout(w.m.t.Context(), 20*time.Second)
		err := w.m.on(ctx, node, func(ctx context.Context, c *pgx.Conn) error { return w.lookAt(ctx, c, node) })
		cancel()
		if err != nil {
			w.m.t.Logf("looking for subscriptions without a worker: %v", err)
		}
	}
}

func (w *waker) lookAt(ctx context.Context, c *pgx.Conn, node string) error {
	w.m.t.Helper()
	subs, err := w.m.engine.Subscriptions(ctx, c)
	if err != nil {
		return err
	}
	for _, s := range subs {
		pair := [2]string{node, s.Provider}
		pids, err := w.m.engine.ApplyWorkers(ctx, c, s.Provider)
		if err != nil {
			return err
		}
		since, seen := w.idle[pair]
		switch {
		case s.Status == "disabled" || w.m.down[s.Provider] || len(pids) > 0:
			delete(w.idle, pair)
		case !seen:
			w.idle[pair] = time.Now()
		case time.Since(since) > wakeAfter:
			delete(w.idle, pair)
			w.m.t.Logf("the subscription of %s to %s had no apply worker for %v and is restarted (docs/findings.md, 1)", node, s.Provider, time.Since(since))
			if err := engine.Restart(ctx, w.m.engine, c, s.Provider); err != nil {
				return err
			}
		}
	}
	return nil
}

// await waits until a query says true.
func (m *mesh) await(node, query string) {
	m.t.Helper()
	var v string
	var err error
	if !m.until(func() bool { v, err = m.tryGet(node, query); return v == "true" }) {
		m.t.Fatalf("%s: never true: %s (last %q, %v)", node, query, v, err)
	}
}

func (m *mesh) advance(node string) string {
	m.t.Helper()
	return m.get(node, "SELECT spock.advance_recovery_slot_to_min_position()")
}

// level lets the managers of nodes run until each slot has passed what its WAL held at the call.
func (m *mesh) level(nodes ...string) {
	m.t.Helper()
	for _, n := range nodes {
		m.passes(n, m.get(n, "SELECT pg_current_wal_lsn()"), nodes...)
	}
}

// passes lets the managers of running run until the slot of node has reached lsn.
func (m *mesh) passes(node, lsn string, running ...string) {
	m.t.Helper()
	if m.until(func() bool {
		for _, r := range running {
			m.advance(r)
		}
		return m.get(node, fmt.Sprintf("SELECT confirmed_flush_lsn >= '%s' FROM pg_replication_slots WHERE slot_name = spock.recovery_slot_name()", lsn)) == "true"
	}) {
		return
	}
	m.t.Fatalf("the slot of %s never passed %s: %s; subscriptions %s", node, lsn,
		m.get(node, "SELECT to_jsonb(s) FROM spock.get_recovery_slot_status() s"),
		m.get(node, "SELECT jsonb_object_agg(subscription_name, enabled) FROM spock.recovery_peer"))
}
