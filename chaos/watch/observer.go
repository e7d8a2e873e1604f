package watch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/topology"
	"github.com/spockchaos/spockchaos/workload/history"
)

// DefaultObserveInterval lies between the beginnings of two observations of a node.
const DefaultObserveInterval = 400 * time.Millisecond

// ObserverOptions are the options of observers. All but Interval and Log are needed.
type ObserverOptions struct {
	Nodes        []topology.Node
	Workload     history.Workload
	Observations Appender // takes rundir.Observation
	Clock        func() time.Time
	// Interval is DefaultObserveInterval if 0.
	Interval time.Duration
	Log      *zap.Logger
}

// Observers read snapshots of the workload's tables on every node.
type Observers struct {
	o ObserverOptions
}

// NewObservers checks the options; Run does the work.
func NewObservers(o ObserverOptions) (*Observers, error) {
	if len(o.Nodes) == 0 || len(o.Workload.Sessions) == 0 || o.Observations == nil || o.Clock == nil {
		return nil, errors.New("observers: Nodes, Workload, Observations and Clock are needed")
	}
	if o.Interval < 0 {
		return nil, fmt.Errorf("observers: interval %s is negative", o.Interval)
	}
	if o.Interval == 0 {
		o.Interval = DefaultObserveInterval
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	return &Observers{o: o}, nil
}

// Run observes until ctx is done and returns nil then. The error of a record that
// could not be saved ends it.
func (obs *Observers) Run(ctx context.Context) error {
	return eachNode(ctx, obs.o.Nodes, obs.observe)
}

func (obs *Observers) observe(ctx context.Context, node topology.Node) error {
	o := newObserver(node, obs.o.Workload, obs.o.Clock)
	defer o.close()
	return every(ctx, obs.o.Interval, func() error {
		seen := o.observe(ctx)
		if seen.Error != "" {
			if ctx.Err() != nil {
				return nil // it is we who stopped, not the node
			}
			obs.o.Log.Debug("observer", zap.String("node", node.Name()), zap.String("error", seen.Error))
		}
		if err := obs.o.Observations.Append(seen); err != nil {
			return fmt.Errorf("save an observation of %s: %w", node.Name(), err)
		}
		return nil
	})
}

// observer reads one node. It is for one goroutine.
type observer struct {
	direct
	clock    func() time.Time
	sessions []int64
	after    []int64 // per session: highest n of a durable observation
	pools    []history.Pool
}

func newObserver(node topology.Node, w history.Workload, clock func() time.Time) *observer {
	o := &observer{clock: clock, pools: w.Pools, after: make([]int64, len(w.Sessions)), direct: direct{
		node: node, application: "spockchaos observer",
		// The tables grow from nothing without statistics: a plan that reads all of the
		// ledger must not come out of that. A flush must flush, whatever the node's default.
		settings: map[string]string{"enable_seqscan": "off", "synchronous_commit": "on"},
	}}
	for _, s := range w.Sessions {
		o.sessions = append(o.sessions, int64(s.ID))
	}
	return o
}

// observe takes one snapshot. A node that does not answer within readLimit gives an
// observation with Error; one that answered, but could not be made to flush, gives one that is not durable.
func (o *observer) observe(ctx context.Context) rundir.Observation {
	seen := rundir.Observation{At: o.clock(), Node: o.node.Name()}
	snapped := false
	err := o.use(ctx, readLimit, func(ctx context.Context, c *pgx.Conn) error {
		news, err := o.snapshot(ctx, c, &seen)
		if err != nil {
			return fmt.Errorf("read a snapshot of %s: %w", o.node.Name(), err)
		}
		snapped = true
		if news {
			if err := flushWAL(ctx, c); err != nil {
				return fmt.Errorf("flush the WAL of %s: %w", o.node.Name(), err)
			}
		}
		seen.Durable = true
		return nil
	})
	seen.End = o.clock()
	if err != nil && !snapped {
		return rundir.Observation{At: seen.At, End: seen.End, Node: seen.Node, Error: err.Error()}
	}
	if seen.Durable {
		// Only now is there no need to look at these rows again.
		for i, s := range seen.Sessions {
			o.after[i] = s.Max
		}
	}
	return seen
}

const (
	// ledgerSQL gives for each session what lies above its mark, and the highest n of all.
	ledgerSQL = `SELECT COALESCE(above.max, 0), above.count, COALESCE(above.sum, 0)::bigint, COALESCE(top.n, 0)
	FROM unnest($1::bigint[], $2::bigint[]) WITH ORDINALITY AS s (session, after, i)
	CROSS JOIN LATERAL (SELECT max(n), count(*), sum(n) FROM chaos.ledger l WHERE l.session = s.session AND l.n > s.after) above
	LEFT JOIN LATERAL (SELECT n FROM chaos.ledger l WHERE l.session = s.session ORDER BY n DESC LIMIT 1) top ON true
	ORDER BY s.i`
	banksSQL = `SELECT COALESCE(b.total, 0)::bigint, b.accounts
	FROM unnest($1::bigint[], $2::bigint[]) WITH ORDINALITY AS p (first, last, i)
	CROSS JOIN LATERAL (SELECT sum(balance) AS total, count(*) AS accounts FROM chaos.account a WHERE a.id BETWEEN p.first AND p.last) b
	ORDER BY p.i`
)

// snapshot reads one snapshot into seen. news says whether it shows anything that
// the last durable observation did not.
func (o *observer) snapshot(ctx context.Context, c *pgx.Conn, seen *rundir.Observation) (news bool, err error) {
	err = pgx.BeginTxFunc(ctx, c, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		fellBack, err := o.readLedger(ctx, tx, seen)
		if err == nil && fellBack {
			// The node lost what it had shown: count everything it has now, in the same snapshot.
			news = true
			_, err = o.readLedger(ctx, tx, seen)
		}
		if err != nil {
			return err
		}
		return o.readBanks(ctx, tx, seen)
	})
	for _, s := range seen.Sessions {
		news = news || s.Count > 0
	}
	return news, err
}

// readLedger fills seen.Sessions. For a session whose highest row is below its
// mark, the mark goes back to 0 and fellBack is true: what was read is not to be used.
func (o *observer) readLedger(ctx context.Context, tx pgx.Tx, seen *rundir.Observation) (fellBack bool, err error) {
	rows, err := tx.Query(ctx, ledgerSQL, o.sessions, o.after)
	if err != nil {
		return false, err
	}
	seen.Sessions = make([]rundir.ObservedSession, 0, len(o.sessions))
	var highest, count, sum, top int64
	_, err = pgx.ForEachRow(rows, []any{&highest, &count, &sum, &top}, func() error {
		i := len(seen.Sessions)
		after := o.after[i]
		if top < after {
			fellBack = true
			o.after[i] = 0
		}
		seen.Sessions = append(seen.Sessions, rundir.ObservedSession{
			Session: int(o.sessions[i]), After: after, Max: max(highest, after), Count: count, Sum: sum,
		})
		return nil
	})
	if err == nil && len(seen.Sessions) != len(o.sessions) {
		err = fmt.Errorf("%d sessions asked for, %d answered", len(o.sessions), len(seen.Sessions))
	}
	return fellBack, err
}

// readBanks fills seen.Banks.
func (o *observer) readBanks(ctx context.Context, tx pgx.Tx, seen *rundir.Observation) error {
	firsts, lasts := make([]int64, len(o.pools)), make([]int64, len(o.pools))
	for i, p := range o.pools {
		firsts[i], lasts[i] = p.FirstAccount, p.FirstAccount+int64(p.Accounts)-1
	}
	rows, err := tx.Query(ctx, banksSQL, firsts, lasts)
	if err != nil {
		return err
	}
	seen.Banks = make([]rundir.ObservedBank, 0, len(o.pools))
	var b rundir.ObservedBank
	_, err = pgx.ForEachRow(rows, []any{&b.Total, &b.Accounts}, func() error {
		b.Node = o.pools[len(seen.Banks)].Node
		seen.Banks = append(seen.Banks, b)
		return nil
	})
	return err
}
