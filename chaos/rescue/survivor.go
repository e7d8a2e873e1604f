package rescue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/topology/attach"
	"github.com/spockchaos/spockchaos/topology/engine"
)

// survivor is a server and what it said when it was read last.
type survivor struct {
	*attach.Server
	Standing
	subscribes bool   // to the failed node
	origin     string // what its commits of the failed node's transactions carry
	freeSlots  int
	retained   int64
	heldBy     string
	own        string          // the conninfo by which its server reaches itself
	peers      map[string]peer // whom it subscribes to
	slots      []string        // of its subscriptions: on the provider
	outgoing   []outgoing      // slots here that feed subscriptions
	knows      bool            // it has heard of the failed node, now or ever
	run        *lastRun        // of a rescue from its loss; nil: there was none
	left       []rundir.Leftover
}

// peer is a node that a survivor subscribes to.
type peer struct{ dsn string }

// outgoing is a slot of the engine's plugin.
type outgoing struct {
	name   string
	active bool
}

// lastRun is the latest rescue of a survivor, as spock.recovery_run has it.
type lastRun struct {
	Step         string
	Source       string
	Transactions int64
	Rows         int64
	Kept         int64
	Skipped      int64
	After        rundir.LSN
	SourceHas    rundir.LSN
	Suspended    []string
	LastError    string
}

// said is what spock.recovery_survivor says.
type said struct {
	Subscribes bool    `json:"subscribes"`
	Progress   *string `json:"progress"`
	Position   *string `json:"position"`
	WalStatus  *string `json:"wal_status"`
	FreeSlots  int     `json:"free_slots"`
}

// read asks the connected survivor for all that is to be known of it.
func (s *survivor) read(ctx context.Context, c *pgx.Conn, eng engine.Engine, failed string) error {
	var text string
	if err := c.QueryRow(ctx, `SELECT spock.recovery_survivor($1)`, failed).Scan(&text); err != nil {
		return fmt.Errorf("reading what it has of %s: %w", failed, err)
	}
	var v said
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		return fmt.Errorf("reading what it has of %s: %w", failed, err)
	}
	s.Standing = Standing{Node: s.Name}
	s.subscribes, s.freeSlots = v.Subscribes, v.FreeSlots
	if v.WalStatus != nil {
		s.SlotStatus = *v.WalStatus
	}
	for _, p := range []struct {
		text *string
		to   *rundir.LSN
	}{{v.Progress, &s.Progress}, {v.Position, &s.Position}} {
		if p.text == nil {
			continue
		}
		var err error
		if *p.to, err = rundir.ParseLSN(*p.text); err != nil {
			return err
		}
	}
	err := c.QueryRow(ctx, `SELECT coalesce(retained_bytes, 0), coalesce(held_by, ''), coalesce((SELECT dsn FROM spock.recovery_node), ''),
			EXISTS (SELECT FROM spock.recovery_heartbeat WHERE node_name = $1) OR EXISTS (SELECT FROM spock.recovery_run WHERE failed_node = $1)
		  FROM spock.get_recovery_slot_status()`, failed).Scan(&s.retained, &s.heldBy, &s.own, &s.knows)
	if err != nil {
		return fmt.Errorf("reading the state of its recovery slot: %w", err)
	}
	s.knows = s.knows || s.subscribes
	if err := s.readPeers(ctx, c, eng, failed); err != nil {
		return err
	}
	if err := s.readRun(ctx, c, failed); err != nil {
		return err
	}
	s.left, err = Leftovers(ctx, c, eng, s.Name, failed)
	return err
}

// readPeers reads whom the survivor subscribes to, and by which slots it feeds others.
func (s *survivor) readPeers(ctx context.Context, c *pgx.Conn, eng engine.Engine, failed string) error {
	s.peers, s.slots, s.origin = map[string]peer{}, nil, ""
	rows, err := c.Query(ctx, `SELECT peer_node, dsn, slot_name, commit_origin FROM spock.recovery_peer`)
	if err != nil {
		return fmt.Errorf("reading its peers: %w", err)
	}
	var name, dsn, slot, origin string
	_, err = pgx.ForEachRow(rows, []any{&name, &dsn, &slot, &origin}, func() error {
		s.peers[name] = peer{dsn}
		if name == failed {
			s.origin = origin
		}
		s.slots = append(s.slots, slot)
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading its peers: %w", err)
	}
	rows, err = c.Query(ctx, `SELECT slot_name::text, active FROM pg_replication_slots WHERE plugin = $1 AND database = current_database() ORDER BY 1`, eng.Name()+"_output")
	if err != nil {
		return fmt.Errorf("reading its slots: %w", err)
	}
	s.outgoing, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) (o outgoing, err error) {
		err = r.Scan(&o.name, &o.active)
		return o, err
	})
	if err != nil {
		return fmt.Errorf("reading its slots: %w", err)
	}
	return nil
}

func (s *survivor) readRun(ctx context.Context, c *pgx.Conn, failed string) error {
	s.run = nil
	var l lastRun
	var after, has string
	err := c.QueryRow(ctx, `SELECT step, source_node, transactions, rows, kept, skipped, suspended, coalesce(last_error, ''),
			coalesce(progress_after, '0/0')::text, coalesce(source_progress, '0/0')::text
		  FROM spock.recover_status($1) LIMIT 1`, failed).
		Scan(&l.Step, &l.Source, &l.Transactions, &l.Rows, &l.Kept, &l.Skipped, &l.Suspended, &l.LastError, &after, &has)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err == nil {
		l.After, err = rundir.ParseLSN(after)
	}
	if err == nil {
		l.SourceHas, err = rundir.ParseLSN(has)
	}
	if err != nil {
		return fmt.Errorf("reading its latest rescue: %w", err)
	}
	s.run = &l
	// A finished replay waits for others to be rescued, until the failed node is removed.
	s.Unfinished = s.subscribes && (l.Step != "done" && l.Step != "replayed" || len(l.Suspended) > 0)
	return nil
}

// subscribesTo asks the server, whether it has the procedures or not.
func (s *survivor) subscribesTo(ctx context.Context, name string) (is bool, err error) {
	err = s.Do(ctx, func(c *pgx.Conn) error {
		all, err := s.Engine.Subscriptions(ctx, c)
		is = slices.ContainsFunc(all, func(sub engine.Subscription) bool { return sub.Provider == name })
		return err
	})
	return is, err
}

// ask lets the survivor's server connect to dsn and ask there. It leaves nothing behind.
func (s *survivor) ask(ctx context.Context, dsn, query string) (answer string, err error) {
	const conn = "spockchaos_ask"
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	err = s.Do(ctx, func(c *pgx.Conn) error {
		if _, err := c.Exec(ctx, `SELECT spock.recovery_connect($1, $2)`, conn, dsn); err != nil {
			return err
		}
		err := c.QueryRow(ctx, `SELECT a FROM spock.recovery_ask($1, $2, '5 seconds') a`, conn, query).Scan(&answer)
		_, derr := c.Exec(ctx, `SELECT spock.recovery_disconnect($1)`, conn)
		return errors.Join(err, derr)
	})
	return answer, err
}
