package scenario

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/spockchaos/spockchaos/chaos"
	"github.com/spockchaos/spockchaos/chaos/rescue"
	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/topology/engine"
)

// crash is step 7: the failed node is killed and its data removed. Before, everybody but the target has its last
// transaction: what only the lost node had nobody could bring back, and that is not what is shown here.
func (s *scene) crash(ctx context.Context, e *evidence) error {
	s.crew[failed].stop() // it goes with its node; and so no heartbeat reaches one survivor only
	if _, err := s.write(ctx, failed, transaction{small, []string{`UPDATE scenario.account SET owner = 'last words' WHERE id = 30`}}); err != nil {
		return err
	}
	if err := s.arrived(ctx, s.level(), failed, s.last(failed)); err != nil {
		return err
	}
	slot, err := s.slotPosition(ctx, source)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.limits.crash)
	defer cancel()
	node := s.cluster.Node(failed)
	processes, err := node.Processes()
	if err != nil {
		return fmt.Errorf("processes of %s: %w", failed, err)
	}
	if err := node.Lose(ctx); err != nil {
		return err
	}
	engine.HangUp(s.conns[failed])
	left, err := node.Processes()
	if err != nil {
		return fmt.Errorf("processes of %s: %w", failed, err)
	}
	e.some("killed", int64(len(processes)), "%s: %d processes killed (%s), data removed", failed, len(processes), node.Means())
	if len(left) > 0 {
		e.problem("%s still has processes %v", failed, left)
	}
	if c, err := pgx.Connect(ctx, node.DSN()); err == nil {
		engine.HangUp(c)
		e.problem("%s still answers", failed)
	} else {
		e.fact("answers", false, "it does not answer any more")
		e.detail("connecting to %s: %v", failed, err)
	}
	if err := chaos.Fence(ctx, s.cluster, s.engine, failed, s.survivors()); err != nil {
		return err
	}
	e.fact("fenced", s.survivors(), "the links to it are cut, and %s have stopped listening to it", strings.Join(s.survivors(), ", "))
	return s.afterLoss(ctx, e, slot)
}

// afterLoss shows that the source's slot holds on, although its manager goes on, and notes what the target lacks: now that is final.
func (s *scene) afterLoss(ctx context.Context, e *evidence, slot position) error {
	if _, err := s.awaitAdvances(ctx, s.crew[source].manager.Calls()+1); err != nil {
		return err
	}
	for _, n := range s.level() {
		have, err := s.newMarks(ctx, n)
		if err != nil {
			return err
		}
		if want := s.last(failed) - s.first + 1; len(have) != want {
			e.problem("%s has %d of %s's %d new transactions: %s", n, len(have), failed, want, ranges(have))
		}
	}
	var own evidence
	ret, err := s.holds(ctx, &own)
	e.problems = append(e.problems, own.problems...)
	if err != nil {
		return err
	}
	s.lacking = ret.lacking
	if ret.slot < slot {
		e.problem("%s's recovery slot went back from %s to %s", source, slot, ret.slot)
	}
	e.some("lacking", int64(len(ret.lacking)), "%s's slot still holds the %d transactions of %s that %s lacks (%d of data, %d heartbeats)",
		source, len(ret.lacking), failed, target, len(marksIn(ret.lacking)), len(ret.lacking)-len(marksIn(ret.lacking)))
	return nil
}

// rescue is step 8.
func (s *scene) rescue(ctx context.Context, e *evidence) error {
	ctx, cancel := context.WithTimeout(ctx, s.limits.call)
	defer cancel()
	began := s.deps.Clock()
	lines := 0
	err := s.call(ctx, func(line string) {
		lines++
		e.detail("%6.2f s  %s", s.deps.Clock().Sub(began).Seconds(), line)
	})
	if err != nil {
		return err
	}
	took := s.deps.Clock().Sub(began)
	e.fact("call_seconds", took.Seconds(), "the CALL on %s returned after %.1f s", coordinator, took.Seconds())
	e.fact("notices", lines, "it said %d lines", lines)
	return s.claims(ctx, e)
}

func (s *scene) call(ctx context.Context, notice func(string)) error {
	return chaos.CallRecovery(ctx, s.cluster, chaos.Recovery{Failed: failed, Source: source, Target: target, Coordinator: coordinator}, notice)
}

// claims is what the procedure says it did, where it keeps a record; a user's own may keep none.
func (s *scene) claims(ctx context.Context, e *evidence) error {
	return s.on(ctx, target, func(c *pgx.Conn) error {
		var step string
		var transactions, rows, kept int64
		var progress *string
		err := c.QueryRow(ctx, `SELECT step, transactions, rows, kept, progress_after::text FROM spock.recover_status($1) LIMIT 1`, failed).
			Scan(&step, &transactions, &rows, &kept, &progress)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read what the rescue says of itself: %w", err)
		}
		e.fact("transactions", transactions, "it says (step %s) that it replayed %d transactions with %d rows and left %d newer rows as they were", step, transactions, rows, kept)
		e.detail("progress %s", value(progress))
		s.claimed = &transactions
		return nil
	})
}

// verify is step 9: the survivors agree on what was written, each transaction is there once, nothing was left
// behind, a second call changes nothing, and replication goes on.
func (s *scene) verify(ctx context.Context, e *evidence) error {
	by, err := s.equal(ctx, e, s.limits.equal, s.survivors())
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		e.problem("%v", err)
	default:
		e.some("rows", by[target].rows(), "%s: %d rows in %d tables, equal by count and digest", strings.Join(s.survivors(), ", "), by[target].rows(), len(tables))
	}
	if s.claimed != nil && *s.claimed != int64(len(s.lacking)) {
		e.problem("the rescue says that it replayed %d transactions; %s lacked %d", *s.claimed, target, len(s.lacking))
	}
	if err := s.once(ctx, e); err != nil {
		return err
	}
	if err := s.commitTimes(ctx, e); err != nil {
		return err
	}
	if err := s.nothingLeft(ctx, e); err != nil {
		return err
	}
	if len(e.problems) > 0 {
		return nil // what follows would only show the consequences
	}
	if err := s.again(ctx, e); err != nil {
		return err
	}
	return s.goesOn(ctx, e)
}

// maxWrong bounds the transactions that are named one by one.
const maxWrong = 5

// once looks on every survivor for transactions that are not there exactly once.
func (s *scene) once(ctx context.Context, e *evidence) error {
	all := make([][]string, len(s.survivors()))
	err := s.onEach(ctx, s.survivors(), func(ctx context.Context, i int, c *pgx.Conn) (err error) {
		all[i], err = s.exactlyOnce(ctx, c)
		return err
	})
	if err != nil {
		return err
	}
	good := true
	for i, n := range s.survivors() {
		for j, text := range all[i] {
			good = false
			if j == maxWrong {
				e.problem("%s: … and %d more", n, len(all[i])-j)
				break
			}
			e.problem("%s: %s", n, text)
		}
	}
	events := 0
	for _, w := range s.written {
		events += w.events
	}
	if good {
		e.some("exactly_once", int64(len(s.written)), "each of the %d transactions written so far is on every survivor once, with its %d rows in the table without a key", len(s.written), events)
	}
	return nil
}

// commitTimes shows that the rescued rows kept the time at which the failed node committed them.
func (s *scene) commitTimes(ctx context.Context, e *evidence) error {
	read := func(node string) (times map[int]time.Time, err error) {
		times = map[int]time.Time{}
		err = s.on(ctx, node, func(c *pgx.Conn) error {
			rows, err := c.Query(ctx, `SELECT n, pg_xact_commit_timestamp(xmin) FROM scenario.mark WHERE node = $1 AND n >= $2`, failed, s.first)
			if err != nil {
				return err
			}
			var n int
			var at time.Time
			_, err = pgx.ForEachRow(rows, []any{&n, &at}, func() error { times[n] = at; return nil })
			return err
		})
		return times, err
	}
	here, err := read(target)
	if err != nil {
		return fmt.Errorf("read commit times: %w", err)
	}
	there, err := read(source)
	if err != nil {
		return fmt.Errorf("read commit times: %w", err)
	}
	same := 0
	for n, at := range there {
		if here[n].Equal(at) {
			same++
		}
	}
	e.detail("%d of %d rescued transactions have on %s the commit time that %s gave them", same, len(there), target, failed)
	return nil
}

// nothingLeft looks on every survivor for what the rescue should have taken away or put back.
func (s *scene) nothingLeft(ctx context.Context, e *evidence) error {
	var found []rundir.Leftover
	for _, n := range s.survivors() {
		err := s.on(ctx, n, func(c *pgx.Conn) error {
			left, err := rescue.Leftovers(ctx, c, s.engine, n, failed)
			found = append(found, left...)
			return err
		})
		if err != nil {
			return err
		}
	}
	for _, l := range found {
		e.problem("left behind on %s: %s %s (%s)", l.Node, l.What, l.Name, l.Detail)
	}
	if len(found) == 0 {
		e.fact("leftovers", 0, "nothing is left behind: no clone, no disabled subscription or trigger, no session, nothing of %s", failed)
	}
	return nil
}

// again makes the same CALL once more.
func (s *scene) again(ctx context.Context, e *evidence) error {
	before, err := s.tallies(ctx, s.survivors())
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, s.limits.call)
	defer cancel()
	if err := s.call(limited, func(line string) { e.detail("second call: %s", line) }); err != nil {
		return fmt.Errorf("a second call: %w", err)
	}
	after, err := s.tallies(ctx, s.survivors())
	if err != nil {
		return err
	}
	changed := 0
	for _, n := range s.survivors() {
		for _, table := range before[n].differing(after[n]) {
			changed++
			e.problem("a second call changed table %s on %s", table, n)
		}
	}
	e.fact("second_call_changes", changed, "a second CALL changed %d tables", changed)
	return nil
}

// goesOn writes on every survivor and waits for it on all others.
func (s *scene) goesOn(ctx context.Context, e *evidence) error {
	for _, n := range s.survivors() {
		if _, err := s.write(ctx, n, transaction{small, nil}); err != nil {
			return err
		}
	}
	for _, n := range s.survivors() {
		if err := s.arrived(ctx, s.survivors(), n, s.last(n)); err != nil {
			return fmt.Errorf("after the rescue: %w", err)
		}
	}
	if _, err := s.equal(ctx, &evidence{}, s.limits.sync, s.survivors()); err != nil {
		return fmt.Errorf("after the rescue: %w", err)
	}
	e.some("after", int64(len(s.survivors())), "replication goes on: a transaction on each survivor reached every other one")
	return nil
}
