package chaos

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/zap"

	"github.com/spockchaos/spockchaos/chaos/rescue"
	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/topology"
	"github.com/spockchaos/spockchaos/topology/engine"
	"github.com/spockchaos/spockchaos/topology/wait"
)

const (
	// rescueRetryPause lies between two attempts.
	rescueRetryPause = 300 * time.Millisecond
	// maxRescueLog bounds the notices that are kept of one rescue.
	maxRescueLog = 200
)

// standing is how much of the failed node's writes a survivor has.
type standing struct {
	rescue.Standing
	ledger int64 // ledger rows of the failed node's sessions
}

// rescuer runs the runbook after the loss of a node.
type rescuer struct {
	cluster     topology.Cluster
	engine      engine.Engine
	strategy    Strategy
	name        string // of the strategy
	tracking    string
	log         *zap.Logger
	clock       func() time.Time
	limits      limits
	failed      string
	coordinator string  // where the CALL runs
	sessions    []int32 // the failed node's
}

// Fence cuts the lost node off for good and stops every survivor's subscription to it, so that what each of them has of
// it is final: bytes that were still on their way are dropped, not applied behind the rescue's back. The links
// refuse from now on: an engine that tries to reach the lost node through a stalled link would wait for its own
// time limit (30 s in pglogical).
func Fence(ctx context.Context, cluster topology.Cluster, eng engine.Engine, failed string, survivors []string) error {
	for _, s := range survivors {
		l := cluster.Link(s, failed)
		if err := l.Refuse(ctx, true); err != nil {
			return fmt.Errorf("cut %s off: %w", failed, err)
		}
		if _, err := l.Reset(ctx); err != nil {
			return fmt.Errorf("cut %s off: %w", failed, err)
		}
		err := onNode(ctx, cluster, s, func(c *pgx.Conn) error { return eng.Disable(ctx, c, failed) })
		if err != nil {
			return fmt.Errorf("stop %s's subscription to %s: %w", s, failed, err)
		}
	}
	return nil
}

// standings reads how far each survivor has come with the failed node's writes.
func (r *rescuer) standings(ctx context.Context, survivors []string) ([]standing, error) {
	out := make([]standing, 0, len(survivors))
	for _, s := range survivors {
		st := standing{Standing: rescue.Standing{Node: s}}
		err := r.onNode(ctx, s, func(c *pgx.Conn) error { return r.readStanding(ctx, c, &st) })
		if err != nil {
			return nil, fmt.Errorf("read what %s has of %s: %w", s, r.failed, err)
		}
		out = append(out, st)
	}
	return out, nil
}

func (r *rescuer) readStanding(ctx context.Context, c *pgx.Conn, st *standing) error {
	subs, err := r.engine.Subscriptions(ctx, c)
	if err != nil {
		return err
	}
	for _, sub := range subs {
		if sub.Provider != r.failed {
			continue
		}
		lsn, err := engine.Progress(ctx, c, sub)
		if err != nil {
			return err
		}
		if st.Progress, err = rundir.ParseLSN(lsn); err != nil {
			return err
		}
	}
	var position int64
	if err := c.QueryRow(ctx, `
		SELECT (SELECT count(*) FROM chaos.ledger WHERE session = ANY($1)), coalesce(s.confirmed_flush_lsn - '0/0', 0)::bigint, coalesce(s.wal_status, '')
		  FROM (SELECT) one LEFT JOIN pg_replication_slots s ON s.slot_name = 'spk_recovery_' || current_database()`,
		r.sessions).Scan(&st.ledger, &position, &st.SlotStatus); err != nil {
		return err
	}
	st.Position = rundir.LSN(position)
	return nil
}

// choose is rescue.Choose for standings of a run.
func choose(all []standing) (source standing, targets []standing) {
	plain := make([]rescue.Standing, len(all))
	for i, s := range all {
		plain[i] = s.Standing
	}
	from, to := rescue.Choose(plain)
	if from >= 0 {
		source = all[from]
	}
	for _, i := range to {
		targets = append(targets, all[i])
	}
	return source, targets
}

// rescue brings target level with source: it attempts it, again after
// every failure, until it succeeds or the limit is reached.
func (r *rescuer) rescue(ctx context.Context, source, target standing) (rundir.Rescue, error) {
	rec := rundir.Rescue{
		Strategy: r.name, Failed: r.failed, Source: source.Node, Target: target.Node, Coordinator: r.coordinator,
		StartedAt: r.clock(), Limit: r.limits.rescue,
		SourceBefore: source.Progress, TargetBefore: target.Progress,
		MissingBefore: source.ledger - target.ledger, SourcePosition: source.Position,
	}
	limited, cancel := context.WithTimeout(ctx, r.limits.rescue)
	defer cancel()
	for {
		err := r.attempt(limited, &rec)
		if err == nil {
			rec.OK, rec.Error = true, ""
			break
		}
		if err.Error() != rec.Error {
			r.note(&rec, "attempt failed: "+err.Error())
		}
		if rec.Error == "" || limited.Err() == nil { // what the end of the limit cuts short says less than what failed before
			rec.Error = err.Error()
		}
		r.log.Warn("rescue attempt failed", zap.String("source", source.Node), zap.String("target", target.Node), zap.Error(err))
		if wait.For(limited, rescueRetryPause) != nil {
			break
		}
		rec.ResumedTimes++
	}
	rec.EndedAt = r.clock()
	if ctx.Err() != nil {
		return rec, ctx.Err()
	}
	return rec, r.measureAfter(ctx, &rec)
}

// attempt makes one attempt, and notes what is said and how a runbook ends.
func (r *rescuer) attempt(ctx context.Context, rec *rundir.Rescue) error {
	limit := r.limits.attempt
	if _, native := r.strategy.(nativeStrategy); native {
		limit = r.limits.rescue // it cannot be called again while it is at work
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	began := r.clock()
	err := r.call(ctx, rec.Source, rec.Target, func(line string) { r.note(rec, line) })
	if _, runbook := r.strategy.(execStrategy); runbook {
		var exit *ExitError
		status := 0
		switch {
		case errors.As(err, &exit):
			status = exit.Status
		case err != nil:
			status = -1 // it was ended, or never began
		}
		rec.ExitStatus = &status
	}
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("not finished within %s: %w", r.clock().Sub(began).Round(time.Second), err)
	}
	return err
}

// secret finds passwords in conninfos, which a procedure may say.
var secret = regexp.MustCompile(`password=('[^']*'|[^\s)'"]+)`)

// note keeps a line with the time since the rescue began.
func (r *rescuer) note(rec *rundir.Rescue, line string) {
	if len(rec.Log) < maxRescueLog {
		line = secret.ReplaceAllString(line, "password=…")
		rec.Log = append(rec.Log, fmt.Sprintf("%6.2f s  %s", r.clock().Sub(rec.StartedAt).Seconds(), line))
	}
}

// call makes one attempt for the node that this rescuer is about.
func (r *rescuer) call(ctx context.Context, source, target string, notice func(string)) error {
	return r.strategy.Rescue(ctx, r.cluster, Recovery{r.failed, source, target, r.coordinator}, notice)
}

// coordinatorToTarget is the conninfo by which the coordinator reaches the target.
func coordinatorToTarget(cluster topology.Cluster, r Recovery) string {
	return fromCoordinator(cluster, r, r.Target)
}

// fromCoordinator is the conninfo by which the coordinator reaches a node.
func fromCoordinator(cluster topology.Cluster, r Recovery, node string) string {
	if node == r.Coordinator {
		return topology.OwnDSN(cluster.Node(node)) // a node reaches itself without a link
	}
	return cluster.LinkDSN(r.Coordinator, node)
}

// CallRecovery runs CALL spock.recovery on the coordinator, once; notice is given each line that it says. The source is
// named by the conninfo that the target reaches it by, since the rows travel from source to target.
func CallRecovery(ctx context.Context, cluster topology.Cluster, r Recovery, notice func(string)) error {
	return callRecovery(ctx, cluster, r, cluster.LinkDSN(r.Target, r.Source), notice)
}

func callRecovery(ctx context.Context, cluster topology.Cluster, r Recovery, sourceDSN string, notice func(string)) error {
	return rescue.Call{
		Coordinator: r.Coordinator, CoordinatorDSN: cluster.Node(r.Coordinator).DSN(), Failed: r.Failed,
		Source: r.Source, SourceDSN: sourceDSN, Target: r.Target, TargetDSN: coordinatorToTarget(cluster, r),
	}.Do(ctx, func(n *pgconn.Notice) { notice(n.Message) })
}

// measureAfter reads what the target has now, and what the procedure says it did. Where there is nobody to say it, it is
// what came of the failed node's ledger rows.
func (r *rescuer) measureAfter(ctx context.Context, rec *rundir.Rescue) error {
	ctx, cancel := context.WithTimeout(ctx, r.limits.look)
	defer cancel()
	count := func(node string) (n int64, err error) {
		err = r.onNode(ctx, node, func(c *pgx.Conn) error {
			return c.QueryRow(ctx, "SELECT count(*) FROM chaos.ledger WHERE session = ANY($1)", r.sessions).Scan(&n)
		})
		return n, err
	}
	have, err := count(rec.Source)
	if err != nil {
		return fmt.Errorf("count what source %s has: %w", rec.Source, err)
	}
	got, err := count(rec.Target)
	if err != nil {
		return fmt.Errorf("count what target %s has: %w", rec.Target, err)
	}
	rec.MissingAfter = have - got
	if r.tracking == TrackingNative {
		rec.Transactions = max(0, rec.MissingBefore-rec.MissingAfter)
		return r.progressAfter(ctx, rec)
	}
	return r.onNode(ctx, rec.Target, func(c *pgx.Conn) error {
		// What the procedure says it did; a user's own procedure may say nothing.
		var source, target *string
		err := c.QueryRow(ctx, `SELECT coalesce(transactions, 0), coalesce(rows, 0), source_progress::text, progress_after::text
			FROM spock.recover_status($1) LIMIT 1`, r.failed).Scan(&rec.Transactions, &rec.Rows, &source, &target)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read recover_status on %s: %w", rec.Target, err)
		}
		for _, v := range []struct {
			text *string
			to   *rundir.LSN
		}{{source, &rec.SourceAfter}, {target, &rec.TargetAfter}} {
			if v.text == nil {
				continue
			}
			if *v.to, err = rundir.ParseLSN(*v.text); err != nil {
				return fmt.Errorf("recover_status on %s: %w", rec.Target, err)
			}
		}
		return nil
	})
}

// progressAfter reads how far source and target say that they have come with the failed node, as long as they know it.
func (r *rescuer) progressAfter(ctx context.Context, rec *rundir.Rescue) error {
	for _, v := range []struct {
		node string
		to   *rundir.LSN
	}{{rec.Source, &rec.SourceAfter}, {rec.Target, &rec.TargetAfter}} {
		var st standing
		if err := r.onNode(ctx, v.node, func(c *pgx.Conn) error { return r.readStanding(ctx, c, &st) }); err != nil {
			return fmt.Errorf("read what %s has of %s: %w", v.node, r.failed, err)
		}
		*v.to = st.Progress
	}
	return nil
}

// onNode runs f on a fresh direct connection to a node.
func (r *rescuer) onNode(ctx context.Context, node string, f func(*pgx.Conn) error) error {
	return onNode(ctx, r.cluster, node, f)
}

func onNode(ctx context.Context, cluster topology.Cluster, node string, f func(*pgx.Conn) error) error {
	n := cluster.Node(node)
	if n == nil {
		return fmt.Errorf("no node %s", node)
	}
	c, err := pgx.Connect(ctx, n.DSN())
	if err != nil {
		return fmt.Errorf("connect to %s: %w", node, err)
	}
	defer engine.HangUp(c)
	return f(c)
}
