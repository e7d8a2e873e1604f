package scenario

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/spockchaos/spockchaos/chaos"
	"github.com/spockchaos/spockchaos/sql"
	"github.com/spockchaos/spockchaos/topology/engine"
)

// create is step 1: nodes, links, mesh, slot tracking and rescue, managers.
func (s *scene) create(ctx context.Context, e *evidence) (err error) {
	ctx, cancel := context.WithTimeout(ctx, s.limits.setup)
	defer cancel()
	s.cluster, s.engine, err = chaos.BringUp(ctx, chaos.Config{
		Nodes: s.cfg.Nodes, Engine: s.cfg.Engine, Topology: s.cfg.Topology, PGBin: s.cfg.PGBin, PGVer: s.cfg.PGVer, Image: s.cfg.Image, Seed: seed,
	}, s.deps)
	if err != nil {
		return err
	}
	version, err := chaos.EngineVersion(ctx, s.cluster, s.engine)
	if err != nil {
		return err
	}
	s.version = s.engine.Name() + " " + version
	if err := s.wire(ctx); err != nil {
		return err
	}
	subs := 0
	for _, n := range s.names() {
		list, err := s.subscriptions(ctx, n)
		if err != nil {
			return err
		}
		for _, sub := range list {
			if sub.Status != "replicating" {
				e.problem("%s's subscription to %s is %s", n, sub.Provider, sub.Status)
			}
			subs++
		}
		s.manage(n)
	}
	e.fact("nodes", s.cfg.Nodes, "%d nodes: PostgreSQL %s, %s, %s", s.cfg.Nodes, s.cluster.Version(), s.version, s.cfg.Topology)
	e.some("subscriptions", int64(subs), "%d subscriptions replicate", subs)
	e.fact("recovery_slots", len(s.names()), "%d recovery slots, advanced every %s", len(s.names()), s.period)
	return nil
}

// wire puts the mesh, the scenario's tables and the procedures on the nodes.
func (s *scene) wire(ctx context.Context) error {
	return chaos.Wire(ctx, s.cluster, s.engine, chaos.Wiring{
		Tables: func(ctx context.Context, c *pgx.Conn) error {
			_, err := c.Exec(ctx, schemaSQL)
			return err
		},
		Keyed: keyed[:], InsertOnly: insertOnly[:], RecoverySQL: s.extra,
	})
}

func (s *scene) subscriptions(ctx context.Context, node string) (list []engine.Subscription, err error) {
	err = s.on(ctx, node, func(c *pgx.Conn) (err error) {
		list, err = s.engine.Subscriptions(ctx, c)
		return err
	})
	return list, err
}

// baseline is step 2: every node writes, all come to hold the same, and the recovery slots follow.
func (s *scene) baseline(ctx context.Context, e *evidence) error {
	for i, n := range s.names() {
		if _, err := s.write(ctx, n, baselineOf(n, i)...); err != nil {
			return err
		}
	}
	by, err := s.equal(ctx, e, s.limits.sync, s.names())
	if err != nil {
		return err
	}
	e.some("transactions", int64(len(s.written)), "%d transactions on %d nodes", len(s.written), len(s.names()))
	e.some("rows", by[source].rows(), "%d rows in %d tables, equal on all nodes by count and digest", by[source].rows(), len(tables))
	return s.slotsFollow(ctx, e)
}

// slotsFollow waits until every recovery slot has passed what its node's WAL holds now.
func (s *scene) slotsFollow(ctx context.Context, e *evidence) error {
	goal := map[string]position{}
	for _, n := range s.names() {
		at, err := s.lsn(ctx, n, "pg_current_wal_flush_lsn()")
		if err != nil {
			return err
		}
		goal[n] = at
	}
	began := s.deps.Clock()
	err := s.await(ctx, s.limits.advance, s.names(), "the recovery slots pass the baseline", func(ctx context.Context) (string, error) {
		var behind []string
		for _, n := range s.names() {
			at, err := s.slotPosition(ctx, n)
			if err != nil {
				return "", err
			}
			if at < goal[n] {
				behind = append(behind, fmt.Sprintf("%s's stands at %s, %d bytes before it", n, at, goal[n]-at))
			}
		}
		return strings.Join(behind, ", "), nil
	})
	if err != nil {
		return err
	}
	took := s.deps.Clock().Sub(began)
	e.fact("slots_level_after_seconds", took.Seconds(), "%d recovery slots came level with it in %.1f s", len(goal), took.Seconds())
	return nil
}

// slotPosition is where a node's recovery slot stands, in its own WAL.
func (s *scene) slotPosition(ctx context.Context, node string) (position, error) {
	return s.lsn(ctx, node, `SELECT coalesce((SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = $1), '0/0')`, s.slotName(node))
}

func (s *scene) slotName(node string) string {
	return sql.RecoverySlotName(s.conns[node].Config().Database)
}

// disable is step 3. Just before, the target still gets a few transactions that the source's manager does not
// look at: so the slot stands before them, and a rescue must know that the target has them.
func (s *scene) disable(ctx context.Context, e *evidence) error {
	s.crew[source].stop()
	more, err := s.write(ctx, failed, overlap()...)
	if err != nil {
		return err
	}
	if err := s.arrived(ctx, s.survivors(), failed, s.last(failed)); err != nil {
		return err
	}
	var workers []int32
	err = s.on(ctx, target, func(c *pgx.Conn) error {
		if err := s.engine.Disable(ctx, c, failed); err != nil {
			return err
		}
		workers, err = s.engine.ApplyWorkers(ctx, c, failed)
		return err
	})
	if err != nil {
		return fmt.Errorf("disable the subscription: %w", err)
	}
	list, err := s.subscriptions(ctx, target)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(list, func(sub engine.Subscription) bool { return sub.Provider == failed })
	if i < 0 || list[i].Status != "disabled" || len(workers) > 0 {
		return fmt.Errorf("%s still listens to %s: %+v, apply workers %v", target, failed, list, workers)
	}
	at, origin, err := s.progress(ctx, target)
	if err != nil {
		return err
	}
	e.some("had_before", int64(len(more)), "%s still got %d transactions of %s, while %s's manager paused", target, len(more), failed, source)
	e.fact("apply_workers", 0, "%s's subscription %s is disabled, it has no apply worker", target, list[i].Name)
	e.fact("target_progress", at, "%s has %s up to %s in its WAL, durably", target, failed, at)
	e.detail("%s counts its progress by replication origin %s", target, origin)
	return nil
}

// arrived waits until nodes have a transaction, and so all before it from the same node.
func (s *scene) arrived(ctx context.Context, nodes []string, from string, n int) error {
	what := fmt.Sprintf("transaction %d of %s on %s", n, from, strings.Join(nodes, ", "))
	return s.await(ctx, s.limits.sync, nodes, what, func(ctx context.Context) (string, error) {
		var without []string
		for _, node := range nodes {
			there, err := ask[bool](ctx, s, node, `SELECT EXISTS (SELECT FROM scenario.mark WHERE node = $1 AND n = $2)`, from, n)
			if err != nil {
				return "", err
			}
			if !there {
				without = append(without, node)
			}
		}
		if len(without) == 0 {
			return "", nil
		}
		return strings.Join(without, ", ") + " without it", nil
	})
}

// insert is step 4: new data on the failed node, and some on the survivors.
func (s *scene) insert(ctx context.Context, e *evidence) error {
	var err error
	if s.before, err = s.lsn(ctx, source, "pg_current_wal_flush_lsn()"); err != nil {
		return err
	}
	s.first = s.last(failed) + 1
	from, err := s.lsn(ctx, failed, "pg_current_wal_insert_lsn()")
	if err != nil {
		return err
	}
	all := newData(s.large)
	done, err := s.write(ctx, failed, all...)
	if err != nil {
		return err
	}
	to, err := s.lsn(ctx, failed, "pg_current_wal_flush_lsn()")
	if err != nil {
		return err
	}
	var own []written
	for _, n := range s.survivors() {
		more, err := s.write(ctx, n, meanwhile(n)...)
		if err != nil {
			return err
		}
		own = append(own, more...)
	}
	kinds := map[kind]int64{}
	for _, t := range all {
		kinds[t.kind]++
	}
	e.some("transactions", int64(len(done)), "%d transactions on %s (%d to %d), %d changed rows, %d bytes of WAL",
		len(done), failed, s.first, s.last(failed), rowsOf(done), to-from)
	e.some("rows", rowsOf(done), "%d small, %d with deletes, %d with key changes, %d with a truncate, %d of %d rows",
		kinds[small], kinds[deletes], kinds[keyChange], kinds[truncate], kinds[large], s.large)
	for _, k := range []kind{small, deletes, keyChange, truncate, large} {
		if kinds[k] == 0 {
			e.problem("no transaction of kind %s", k)
		}
	}
	e.some("meanwhile", int64(len(own)), "%d transactions on the survivors meanwhile, some on rows that %s has just changed", len(own), failed)
	return nil
}

// lag is step 5: the source and the other survivors have everything, the target has none of the new data.
func (s *scene) lag(ctx context.Context, e *evidence) error {
	level := append([]string{failed}, s.level()...)
	by, err := s.equal(ctx, e, s.limits.sync, level)
	if err != nil {
		return err
	}
	s.manage(source)
	s.advances = s.crew[source].manager.Calls()
	if err := s.arrived(ctx, s.names(), target, s.last(target)); err != nil {
		return err
	}
	for _, n := range s.level() { // what they wrote themselves reaches the target
		if err := s.arrived(ctx, []string{target}, n, s.last(n)); err != nil {
			return err
		}
	}
	want := s.last(failed) - s.first + 1
	for _, n := range s.level() {
		have, err := s.newMarks(ctx, n)
		if err != nil {
			return err
		}
		if len(have) != want {
			e.problem("%s has %d of %s's %d new transactions (%s)", n, len(have), failed, want, ranges(have))
		}
	}
	missing, err := s.newMarks(ctx, target)
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		e.problem("%s has %d of %s's new transactions (%s) although it does not listen", target, len(missing), failed, ranges(missing))
	}
	mine, err := s.tallies(ctx, []string{target})
	if err != nil {
		return err
	}
	stale := mine[target].differing(by[source])
	there, _, err := s.progress(ctx, source)
	if err != nil {
		return err
	}
	here, _, err := s.progress(ctx, target)
	if err != nil {
		return err
	}
	e.some("source_transactions", int64(want), "%s have all %d new transactions: %d rows, equal by count and digest", strings.Join(level, ", "), want, by[source].rows())
	e.fact("target_transactions", len(missing), "%s has %d of %d", target, len(missing), want)
	e.some("stale_tables", int64(len(stale)), "%s differs in %d of %d tables: %s", target, len(stale), len(tables), strings.Join(stale, ", "))
	e.some("lag_bytes", int64(there)-int64(here), "%s lags %d bytes of %s's WAL behind %s", target, int64(there)-int64(here), failed, source)
	for i, t := range tables {
		e.detail("%-8s %s %d rows, %s %d rows", t, source, by[source][i].Rows, target, mine[target][i].Rows)
	}
	return nil
}

// newMarks are the failed node's new transactions that a node has.
func (s *scene) newMarks(ctx context.Context, node string) ([]int, error) {
	all, err := s.marksOn(ctx, node, failed)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(n int) bool { return n < s.first }), nil
}

// slotCalls is how often the source's manager must have had the chance to move the slot too far.
const slotCalls = 3

// preserve is step 6: the source's recovery slot still has exactly what the target lacks.
func (s *scene) preserve(ctx context.Context, e *evidence) error {
	calls, err := s.awaitAdvances(ctx, s.advances+slotCalls)
	if err != nil {
		return err
	}
	// What no slot holds goes now.
	err = s.on(ctx, source, func(c *pgx.Conn) error {
		for _, q := range []string{`SELECT pg_switch_wal()`, `CHECKPOINT`} {
			if _, err := c.Exec(ctx, q); err != nil {
				return fmt.Errorf("%s: %w", q, err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	e.some("advances", calls-s.advances, "%s's manager has run %d times since %s had all, and WAL that no slot holds was removed", source, calls-s.advances, source)
	if err := s.slotStatus(ctx, e); err != nil {
		return err
	}
	ret, err := s.holds(ctx, e)
	if err != nil {
		return err
	}
	if len(e.problems) == 0 && len(ret.lacking) > 0 {
		first := ret.lacking[0].commit
		e.fact("slot_position", ret.slot, "the slot stands at %s in %s's WAL, %d bytes before %s, the first commit that %s needs", ret.slot, source, first-ret.slot, first, target)
	} else {
		e.fact("slot_position", ret.slot, "the slot stands at %s in %s's WAL; before %s there was nothing that %s needs", ret.slot, source, s.before, target)
	}
	if len(ret.had) > 0 {
		e.fact("had_already", len(ret.had), "before them it holds %d transactions that %s has already", len(ret.had), target)
	}
	return nil
}

// awaitAdvances waits until the source's manager has returned from so many calls.
func (s *scene) awaitAdvances(ctx context.Context, goal int64) (calls int64, err error) {
	err = s.await(ctx, s.limits.advance, nil, fmt.Sprintf("%d calls of %s's manager", slotCalls, source), func(context.Context) (string, error) {
		if calls = s.crew[source].manager.Calls(); calls < goal {
			return fmt.Sprintf("%d to come", goal-calls), nil
		}
		return "", nil
	})
	return calls, err
}

// slotStatus shows the source's slot as the server does.
func (s *scene) slotStatus(ctx context.Context, e *evidence) error {
	var restart, confirmed, status *string
	var kept *int64
	var active bool
	err := s.on(ctx, source, func(c *pgx.Conn) error {
		err := c.QueryRow(ctx, `SELECT restart_lsn::text, confirmed_flush_lsn::text, wal_status, active, (pg_current_wal_flush_lsn() - restart_lsn)::bigint
			FROM pg_replication_slots WHERE slot_name = $1`, s.slotName(source)).Scan(&restart, &confirmed, &status, &active, &kept)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return fmt.Errorf("look at recovery slot %s: %w", s.slotName(source), err)
		}
		return err
	})
	if errors.Is(err, pgx.ErrNoRows) {
		e.problem("%s has no recovery slot %s", source, s.slotName(source))
		return nil
	}
	if err != nil {
		return err
	}
	if status == nil || kept == nil || *status != "reserved" && *status != "extended" {
		e.problem("the WAL of recovery slot %s is not reserved: restart_lsn %s, wal_status %s", s.slotName(source), value(restart), value(status))
		return nil
	}
	e.some("kept_bytes", *kept, "slot %s keeps %d bytes of WAL (%s)", s.slotName(source), *kept, *status)
	e.detail("restart_lsn %s, confirmed_flush_lsn %s, active %t", value(restart), value(confirmed), active)
	return nil
}

// holds compares what a clone of the source's slot shows with what the target lacks, transaction by transaction.
func (s *scene) holds(ctx context.Context, e *evidence) (ret held, err error) {
	has, _, err := s.progress(ctx, target)
	if err != nil {
		return ret, err
	}
	end, origin, err := s.progress(ctx, source)
	if err != nil {
		return ret, err
	}
	there, err := s.marksOn(ctx, source, failed)
	if err != nil {
		return ret, err
	}
	here, err := s.marksOn(ctx, target, failed)
	if err != nil {
		return ret, err
	}
	began := s.deps.Clock()
	err = s.on(ctx, source, func(c *pgx.Conn) error {
		ret, err = readClone(ctx, c, origin, has)
		return err
	})
	if err != nil {
		return ret, err
	}
	e.detail("reading the clone took %s", s.deps.Clock().Sub(began).Round(time.Millisecond))
	s.compare(e, ret.lacking, minus(there, here), has, end)
	return ret, nil
}

// compare says whether decoded transactions are those numbers, each once, and reach from behind has to end.
func (s *scene) compare(e *evidence, all []decoded, lacks []int, has, end position) {
	found := marksIn(all)
	first, last := span(all)
	beats, rows := 0, 0
	for _, t := range all {
		rows += t.rows
		switch {
		case t.changes > 0:
			e.problem("the clone has a transaction of %s at %s with %d changes of tables that are not the scenario's", failed, t.lsn, t.changes)
		case len(t.marks) == 0 && t.beats > 0:
			beats++
		case len(t.marks) == 0:
			e.problem("the clone has an empty transaction of %s at %s", failed, t.lsn)
		}
	}
	e.fact("recoverable", len(found), "a clone of the slot has %d of the %d transactions that %s lacks (%s), %d row changes, and %d heartbeats", len(found), len(lacks), target, ranges(lacks), rows, beats)
	if len(lacks) == 0 {
		e.problem("%s lacks nothing: the step has shown nothing", target)
	}
	if len(all) > 0 {
		e.fact("origin_lsn_range", []position{first, last}, "they were committed from %s to %s in %s's WAL; %s has it up to %s, %s up to %s", first, last, failed, target, has, source, end)
	}
	if gone := minus(lacks, found); len(gone) > 0 {
		e.problem("the slot has lost %d transactions that %s needs: %s of %s", len(gone), target, ranges(gone), failed)
	}
	if extra := minus(found, lacks); len(extra) > 0 {
		e.problem("the clone has transactions beyond %s's progress that %s does not lack: %s", target, target, ranges(extra))
	}
	if len(slices.Compact(slices.Clone(found))) != len(found) {
		e.problem("the clone has transactions twice: %s", ranges(found))
	}
	if last < end {
		e.problem("the clone ends at %s in %s's WAL, before %s, which %s has", last, failed, end, source)
	}
}

func value(s *string) string {
	if s == nil {
		return "none"
	}
	return *s
}
