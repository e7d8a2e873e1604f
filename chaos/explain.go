package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/topology"
	"github.com/spockchaos/spockchaos/topology/engine"
	"github.com/spockchaos/spockchaos/workload"
)

// logMark is what must be known of a node before a round to understand its log after it: what its numbers mean changes with its subscriptions.
type logMark struct {
	origins engine.Origins
	end     topology.LogPlace
	copier  topology.LogCopier // nil: the node's log cannot be read
}

// markLogs notes where the round begins in the servers' logs.
func (r *round) markLogs(ctx context.Context) error {
	logger, ok := r.engine.(engine.ConflictLogger)
	if !ok {
		return nil
	}
	r.marks = map[string]logMark{}
	for _, n := range r.cluster.Nodes() {
		var m logMark
		err := onNode(ctx, r.cluster, n.Name(), func(c *pgx.Conn) (err error) {
			m.origins, err = logger.Origins(ctx, c)
			return err
		})
		if copier, can := n.(topology.LogCopier); can && err == nil {
			m.copier = copier
			m.end, err = copier.LogEnd(ctx)
		}
		if err != nil {
			return fmt.Errorf("mark the log of %s: %w", n.Name(), err)
		}
		r.marks[n.Name()] = m
	}
	return nil
}

// explain writes down what the engine says that the survivors gave up: transactions of the workload, and what became of single rows.
func (r *round) explain(ctx context.Context) (err error) {
	out, err := rundir.OpenLines(filepath.Join(r.dir, rundir.ExplanationsFile))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	for _, node := range r.state.Survivors {
		err := onNode(ctx, r.cluster, node, func(c *pgx.Conn) error {
			if err := r.explainTransactions(ctx, c, node, out); err != nil {
				return err
			}
			return r.explainSaved(ctx, c, node, out)
		})
		if err != nil {
			return fmt.Errorf("read what %s discarded: %w", node, err)
		}
		if err := r.explainLogged(ctx, node, out); err != nil {
			return fmt.Errorf("look for conflicts in the log of %s: %w", node, err)
		}
	}
	return nil
}

// explainLost writes down what the node that is about to be lost gave up: only it can say what a snapshot of it lacked. That it does not answer is no error: it may be broken by then.
func (r *round) explainLost(ctx context.Context) (err error) {
	if _, ok := r.engine.(engine.Discarder); !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, r.limits.lastWords)
	defer cancel()
	out, err := rundir.OpenLines(filepath.Join(r.dir, rundir.ExplanationsFile))
	if err != nil {
		return err
	}
	if err := onNode(ctx, r.cluster, r.plan.Failed, func(c *pgx.Conn) error { return r.explainTransactions(ctx, c, r.plan.Failed, out) }); err != nil {
		r.log.Warn("what the lost node gave up is not known", zap.String("node", r.plan.Failed), zap.Error(err))
	}
	return out.Close()
}

// explainTransactions finds transactions that were given up. Each has inserted its marker into the ledger.
func (r *round) explainTransactions(ctx context.Context, c *pgx.Conn, node string, out *rundir.Lines) error {
	discarder, ok := r.engine.(engine.Discarder)
	if !ok {
		return nil
	}
	return discarder.Discards(ctx, c, schema, rundir.TableLedger, func(d engine.Discard) error {
		if number, err := strconv.ParseInt(d.Origin, 10, 64); err == nil && r.marks[node].origins[number] != "" { // its node is no longer known
			d.Origin = r.marks[node].origins[number]
		}
		e, err := explanation(node, d)
		if err != nil {
			return err
		}
		return out.Append(e)
	})
}

// explainSaved finds conflicts in the engine's own tables.
func (r *round) explainSaved(ctx context.Context, c *pgx.Conn, node string, out *rundir.Lines) error {
	saver, ok := r.engine.(engine.ConflictSaver)
	if !ok {
		return nil
	}
	return saver.SavedConflicts(ctx, c, schema, r.marks[node].origins, func(k engine.Conflict) error { return r.saveConflict(out, node, k) })
}

// explainLogged finds conflicts in what the server has logged since the round began.
func (r *round) explainLogged(ctx context.Context, node string, out *rundir.Lines) error {
	logger, ok := r.engine.(engine.ConflictLogger)
	mark := r.marks[node]
	if !ok || mark.copier == nil {
		return nil
	}
	from, to := io.Pipe()
	var g errgroup.Group
	g.Go(func() error { return to.CloseWithError(mark.copier.CopyLog(ctx, mark.end, to)) })
	unread, err := logger.LoggedConflicts(from, mark.origins, func(k engine.Conflict) error { return r.saveConflict(out, node, k) })
	_ = from.CloseWithError(err) // whatever still writes ends
	if err := errors.Join(err, g.Wait()); err != nil {
		return err
	}
	if unread > 0 {
		r.log.Warn("conflicts in a server log that could not be made sense of: what they explain counts as not explained",
			zap.String("node", node), zap.Int("entries", unread))
	}
	return nil
}

// schema of the workload's tables.
const schema = "chaos"

// saveConflict writes down the version of a row that a conflict did away with, if there is one that the checker can look for. Where a table is applied
// by differences a conflict does away with nothing, and every second increment of a shared counter is one.
func (r *round) saveConflict(out *rundir.Lines, node string, k engine.Conflict) error {
	table, ours := strings.CutPrefix(k.Table, schema+".")
	if _, added := workload.DeltaColumns()[k.Table]; added && r.description.SharedCounters.Count > 0 && k.Resolution != engine.Discarded {
		return nil
	}
	gone := k.GivenUp()
	if !ours || gone == nil || gone.Origin == "" || gone.CommittedAt.IsZero() {
		return nil
	}
	if table == rundir.TableConflict && k.Resolution != engine.Skip {
		return nil // there are many, and the checker knows by the timestamps which version must win
	}
	row := &rundir.RowVersion{Table: table, Columns: gone.Columns, Origin: gone.Origin, CommittedAt: gone.CommittedAt,
		Deleted: k.Operation == engine.Delete && k.Resolution != engine.ApplyRemote}
	if _, ok := row.Key(); !ok {
		return nil
	}
	return out.Append(rundir.Explanation{Node: node, Row: row, Source: k.Source, Entry: k.LoggedAt.UTC().Format(time.RFC3339Nano) + ": " + k.Text})
}

// explanation is what a discarded marker says of its transaction.
func explanation(node string, d engine.Discard) (rundir.Explanation, error) {
	session, isNumber := d.Row["session"].(float64)
	n, isNumberToo := d.Row["n"].(float64) // far below 2^53
	if !isNumber || !isNumberToo {
		return rundir.Explanation{}, fmt.Errorf("%s on %s has a row of the ledger without session and n: %v", d.Source, node, d.Row)
	}
	return rundir.Explanation{
		Node: node, Session: int(session), N: int64(n), Source: d.Source,
		Entry: fmt.Sprintf("%s: transaction %d of %s, committed there at %s, was given up: %s",
			d.LoggedAt.UTC().Format(time.RFC3339Nano), d.XID, d.Origin, d.CommittedAt.UTC().Format(time.RFC3339Nano), d.Error),
	}, nil
}
