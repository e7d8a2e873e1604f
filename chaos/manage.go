package chaos

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/topology/attach"
	"github.com/spockchaos/spockchaos/topology/mesh"
)

const (
	// heldCalls is how many calls in a row must leave the slot where it was before it is said to be held: a peer that is a little
	// behind holds it for a moment all the time.
	heldCalls = 3
	// stateEvery is how often a slot that moves is told of.
	stateEvery = time.Minute
)

// Managing says for which nodes Manage plays the manager.
type Managing struct {
	Nodes  []attach.Node
	Period time.Duration
	// Install puts procedures and recovery slot on the nodes that lack them.
	Install bool
	Log     *zap.Logger
	Clock   func() time.Time
}

// Manage runs a manager for each node of a cluster that somebody else made, until ctx is done. A *UsageError says why it was not begun: a node that
// answers and is not what it should be, or none that answers. A node that does not answer is tried again every period.
func Manage(ctx context.Context, m Managing) error {
	if err := m.look(ctx); err != nil {
		if ctx.Err() != nil {
			return nil // ended before it began
		}
		return &UsageError{err}
	}
	var all sync.WaitGroup
	for _, n := range m.Nodes {
		told := &teller{log: m.Log.With(zap.String("node", n.Name)), clock: m.Clock}
		manager := &Manager{Name: n.Name, DSN: n.DSN, Period: m.Period, Log: zap.NewNop(), Report: told.tell}
		all.Go(func() { manager.Run(ctx) })
	}
	all.Wait()
	return nil
}

// look makes sure that every node that answers can have a manager.
func (m Managing) look(ctx context.Context) error {
	var mu sync.Mutex
	var wrong, away []error
	var all sync.WaitGroup
	for _, n := range m.Nodes {
		all.Go(func() {
			err := m.lookAt(ctx, n)
			var absent *attach.AwayError
			mu.Lock()
			defer mu.Unlock()
			switch {
			case errors.As(err, &absent):
				away = append(away, err)
			case err != nil:
				wrong = append(wrong, err)
			}
		})
	}
	all.Wait()
	if len(wrong) > 0 {
		return errors.Join(wrong...)
	}
	if len(away) == len(m.Nodes) {
		return errors.Join(away...)
	}
	for _, err := range away {
		m.Log.Warn(err.Error() + "; it is tried again")
	}
	return nil
}

func (m Managing) lookAt(ctx context.Context, n attach.Node) error {
	s, err := attach.Open(ctx, n)
	if err != nil {
		return err
	}
	defer s.Close()
	note, err := s.Procedures(ctx, m.Install)
	if err != nil {
		return err
	}
	if note != "" {
		m.Log.Info(note)
	}
	return s.Do(ctx, func(c *pgx.Conn) error {
		var there bool
		if err := c.QueryRow(ctx, `SELECT slot_exists FROM spock.get_recovery_slot_status()`).Scan(&there); err != nil || there {
			return err
		}
		if !m.Install {
			return errors.New("has no recovery slot: SELECT spock.create_recovery_slot() there, or --install, makes it")
		}
		if _, err := c.Exec(ctx, `SELECT spock.create_recovery_slot()`); err != nil {
			return fmt.Errorf("create the recovery slot: %w", err)
		}
		m.Log.Info("recovery slot made", zap.String("node", n.Name))
		return nil
	})
}

// teller turns what the calls of one node's manager came to into lines of the log: what changed, and now and then how things stand.
type teller struct {
	log   *zap.Logger
	clock func() time.Time

	began  bool
	silent string // why there was no answer, "" while there is one
	held   string // what the slot is said to be held by
	still  int    // calls in a row that left it where it was
	at     rundir.LSN
	told   time.Time
	since  rundir.LSN // its position when it was told of last
}

func (t *teller) tell(a Advance) {
	if a.Err != nil {
		if why := mesh.Reason(a.Err); why != t.silent {
			t.silent = why
			t.log.Warn("no advance", zap.String("why", why))
		}
		return
	}
	fields := []zap.Field{zap.Stringer("position", a.Position), zap.Int64("retained_bytes", a.Retained)}
	if t.silent != "" {
		t.silent = ""
		t.log.Info("advances again", fields...)
	}
	a.HeldBy, _, _ = strings.Cut(a.HeldBy, "\n") // libpq goes on with advice
	moved := a.Position != t.at
	t.at = a.Position
	if moved || a.HeldBy == "" {
		t.still = 0
	} else {
		t.still++
	}
	t.log.Debug("called", append(fields, zap.Bool("moved", moved), zap.String("held_by", a.HeldBy))...)
	switch {
	case !t.began:
		t.log.Info("managing", append(fields, zap.String("held_by", a.HeldBy))...)
	case t.still >= heldCalls && a.HeldBy != t.held:
		t.held = a.HeldBy
		t.log.Warn("slot held", append(fields, zap.String("by", a.HeldBy))...)
	case t.held != "" && t.still == 0:
		t.held = ""
		t.log.Info("slot moves again", fields...)
	case t.clock().Sub(t.told) >= stateEvery && a.Position > t.since:
		t.log.Info("slot advanced", append(fields, zap.Int64("bytes", int64(a.Position-t.since)))...)
	case t.clock().Sub(t.told) >= stateEvery && t.held != "":
		t.log.Warn("slot still held", append(fields, zap.String("by", t.held))...)
	default:
		return
	}
	t.began, t.told, t.since = true, t.clock(), a.Position
}
