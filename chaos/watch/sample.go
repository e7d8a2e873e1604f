package watch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/topology"
	"github.com/spockchaos/spockchaos/topology/engine"
)

// The statements of one sample, in the order in which a node runs them: they go
// in one round trip, and each sees what is there when its turn comes. The order
// is part of what a sample says:
//
//   - the slot before the origins: a position that may not pass what the origins show was read no later than they;
//   - the slot before the WAL positions and the checkpoint: a checkpoint that began (redo) at or after
//     insert_lsn has saved a position no lower than the one in the sample.
const (
	slotsSQL = `SELECT slot_name::text, COALESCE(restart_lsn - '0/0', 0)::bigint, COALESCE(confirmed_flush_lsn - '0/0', 0)::bigint,
		COALESCE(wal_status, ''), active, COALESCE(plugin, '') = '', slot_name = 'spk_recovery_' || current_database()
	FROM pg_replication_slots
	WHERE slot_name = 'spk_recovery_' || current_database() OR starts_with(slot_name::text, 'spk_rescue_clone_')
		OR starts_with(slot_name::text, 'spock_rescue_clone_') -- a server's own rescue calls it so
	ORDER BY slot_name`
	originsSQL = `SELECT external_id, COALESCE(remote_lsn - '0/0', 0)::bigint, COALESCE(local_lsn - '0/0', 0)::bigint
	FROM pg_replication_origin_status WHERE external_id IS NOT NULL ORDER BY external_id`
	// When a backend dies of a crash (the kernel kills it for want of memory), the postmaster goes on and starts
	// all else anew: that is an epoch of its own, and begins with the checkpointer, as an epoch of the postmaster's does. Which
	// of the two times is later says nothing, since a clock may have been set back in between.
	walSQL = `SELECT coalesce((SELECT max(backend_start) FROM pg_stat_activity WHERE backend_type = 'checkpointer'), pg_postmaster_start_time()),
		(pg_current_wal_insert_lsn() - '0/0')::bigint, (pg_current_wal_flush_lsn() - '0/0')::bigint,
		(SELECT COALESCE(sum(size), 0)::bigint FROM pg_ls_waldir())`
	checkpointSQL = `SELECT (checkpoint_lsn - '0/0')::bigint, (redo_lsn - '0/0')::bigint FROM pg_control_checkpoint()`
)

// sampler reads samples of one node. It is for one goroutine.
type sampler struct {
	direct
	engine engine.Engine
	clock  func() time.Time
	// peers is the provider behind each replication origin. Entries outlive their
	// subscription: its origin may be there for a while after it was dropped.
	peers map[string]string
}

func newSampler(node topology.Node, e engine.Engine, clock func() time.Time) *sampler {
	return &sampler{direct: direct{node: node, application: "spockchaos watcher"}, engine: e, clock: clock, peers: map[string]string{}}
}

// sample reads one sample; a node that does not answer within readLimit gives one with Error.
func (s *sampler) sample(ctx context.Context) rundir.Sample {
	at := s.clock()
	var got rundir.Sample
	read := func(ctx context.Context, c *pgx.Conn) (err error) {
		got, err = s.read(ctx, c)
		if refused := new(pgconn.PgError); errors.As(err, &refused) && !c.IsClosed() {
			// pg_control can be read half written, which is an error that a second look
			// does not meet; for any other, trying twice does no harm.
			got, err = s.read(ctx, c)
		}
		return err
	}
	if err := s.use(ctx, readLimit, read); err != nil {
		got = rundir.Sample{Error: err.Error()}
	}
	got.Node, got.At, got.End = s.node.Name(), at, s.clock()
	return got
}

func (s *sampler) read(ctx context.Context, c *pgx.Conn) (rundir.Sample, error) {
	var r rundir.Sample
	var origins []rundir.Origin // Node holds the origin's name at first
	b := &pgx.Batch{}
	b.Queue(slotsSQL).Query(func(rows pgx.Rows) error {
		var slot rundir.Slot
		var mine bool
		_, err := pgx.ForEachRow(rows, []any{&slot.Name, &slot.Restart, &slot.Confirmed, &slot.WALStatus, &slot.Active, &slot.NoPlugin, &mine}, func() error {
			if mine {
				own := slot
				r.Slot = &own
			} else {
				r.Clones = append(r.Clones, slot.Name)
			}
			return nil
		})
		return err
	})
	b.Queue(originsSQL).Query(func(rows pgx.Rows) error {
		var o rundir.Origin
		_, err := pgx.ForEachRow(rows, []any{&o.Node, &o.Remote, &o.Local}, func() error {
			origins = append(origins, o)
			return nil
		})
		return err
	})
	b.Queue(walSQL).QueryRow(func(row pgx.Row) error {
		return row.Scan(&r.Epoch, &r.InsertLSN, &r.FlushLSN, &r.WALBytes)
	})
	b.Queue(checkpointSQL).QueryRow(func(row pgx.Row) error {
		return row.Scan(&r.CheckpointLSN, &r.RedoLSN)
	})
	if err := c.SendBatch(ctx, b).Close(); err != nil {
		return r, fmt.Errorf("read slots and origins of %s: %w", s.node.Name(), err)
	}
	if r.Slot != nil && r.Slot.Restart != 0 {
		r.Slot.Retained = int64(r.FlushLSN - r.Slot.Restart)
	}

	subs, err := s.engine.Subscriptions(ctx, c)
	if err != nil {
		return r, fmt.Errorf("read subscriptions of %s: %w", s.node.Name(), err)
	}
	second := map[string]string{} // provider by the second origin of a subscription that is there
	for _, sub := range subs {
		s.peers[sub.Origin] = sub.Provider
		second[sub.NodeOrigin] = sub.Provider
		r.Subscriptions = append(r.Subscriptions, rundir.Subscription{Provider: sub.Provider, Status: sub.Status})
	}
	if own, ok := s.engine.(engine.Recoverer); ok {
		rescues, err := own.OwnRescues(ctx, c)
		if err != nil {
			return r, fmt.Errorf("read rescues of %s: %w", s.node.Name(), err)
		}
		for _, x := range rescues {
			stop, err := rundir.ParseLSN(x.Stop)
			if err != nil {
				return r, fmt.Errorf("stop position of %s on %s: %w", x.Name, s.node.Name(), err)
			}
			r.OwnRescues = append(r.OwnRescues, rundir.OwnRescue{Name: x.Name, Provider: x.Provider, Stop: stop})
		}
	}
	for _, o := range origins {
		// An origin of nobody's subscription is not this program's.
		provider, known := s.peers[o.Node]
		if !known {
			provider, known = second[o.Node]
		}
		if !known {
			continue
		}
		o.Node = provider
		switch i := slices.IndexFunc(r.Origins, func(x rundir.Origin) bool { return x.Node == provider }); {
		case i < 0:
			r.Origins = append(r.Origins, o)
		case o.Remote > r.Origins[i].Remote:
			r.Origins[i] = o
		}
	}
	return r, nil
}
