package fault

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/topology/engine"
	"github.com/spockchaos/spockchaos/topology/wait"
)

// walRecycle makes a node switch its WAL segment and write a checkpoint again and again, so
// that WAL which no slot holds is really gone soon.
type walRecycle struct{ meta }

func newWALRecycle() Fault {
	return walRecycle{meta{
		name:     "wal_recycle",
		describe: "a node switches its WAL segment and writes a checkpoint every every_ms: what no slot keeps is gone",
		class:    OnReplication,
		span:     Span{2 * time.Second, 8 * time.Second},
	}}
}

func (walRecycle) Draw(r *rand.Rand, w World) (string, Params) {
	return drawNode(r, w), Params{paramEvery: between(r, 300, 1000)}
}

func (walRecycle) Touches(w World, target string, p Params) (Reach, error) {
	node, err := parseNode(w, target)
	if err != nil {
		return Reach{}, err
	}
	_, err = millis(p, paramEvery)
	return Reach{Nodes: []string{node}, Needs: []string{node}}, err
}

func (walRecycle) Inject(ctx context.Context, env Env, f rundir.PlannedFault) (Active, error) {
	every, err := millis(f.Parameters, paramEvery)
	if err != nil {
		return nil, err
	}
	c, err := env.connect(ctx, f.Target)
	if err != nil {
		return nil, err
	}
	a := &recycling{node: f.Target}
	if a.first, err = readWAL(ctx, c); err != nil {
		engine.HangUp(c)
		return nil, fmt.Errorf("WAL of %s: %w", f.Target, err)
	}
	a.last = a.first
	// The loop outlives ctx: Heal ends it.
	loop, cancel := context.WithCancel(context.WithoutCancel(ctx))
	a.cancel = cancel
	a.loop.Go(func() {
		defer engine.HangUp(c)
		a.run(loop, c, every)
	})
	return a, nil
}

// walState is where a node's WAL stands.
type walState struct {
	segment string // being written
	oldest  string // still there
	redo    string // of the last checkpoint
}

func readWAL(ctx context.Context, c *pgx.Conn) (walState, error) {
	var s walState
	err := c.QueryRow(ctx, `SELECT pg_walfile_name(pg_current_wal_insert_lsn()), redo_lsn::text,
		(SELECT min(name) FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$')
		FROM pg_control_checkpoint()`).Scan(&s.segment, &s.redo, &s.oldest)
	return s, err
}

type recycling struct {
	node   string
	first  walState
	cancel context.CancelFunc
	loop   sync.WaitGroup

	mu     sync.Mutex
	last   walState
	rounds int
	err    error // why the loop ended before it was told to
}

func (a *recycling) run(ctx context.Context, c *pgx.Conn, every time.Duration) {
	for {
		s, err := recycle(ctx, c)
		if ctx.Err() != nil {
			return
		}
		a.mu.Lock()
		if err != nil {
			a.err = err
			a.mu.Unlock()
			return
		}
		a.last = s
		a.rounds++
		a.mu.Unlock()
		if wait.For(ctx, every) != nil {
			return
		}
	}
}

func recycle(ctx context.Context, c *pgx.Conn) (walState, error) {
	// A segment without any record is not switched: write one that nobody decodes.
	for _, q := range []string{
		"SELECT pg_logical_emit_message(false, 'spockchaos', '')",
		"SELECT pg_switch_wal()",
		"CHECKPOINT",
	} {
		if _, err := c.Exec(ctx, q); err != nil {
			return walState{}, fmt.Errorf("%s: %w", q, err)
		}
	}
	return readWAL(ctx, c)
}

func (a *recycling) state() (walState, int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.last, a.rounds, a.err
}

func (a *recycling) Prove(ctx context.Context) (bool, string, error) {
	var s walState
	var rounds int
	var broken error
	_ = until(ctx, func() (bool, error) { // a wait that ran out is told by the state
		s, rounds, broken = a.state()
		return rounds >= 2 || broken != nil, nil
	})
	proof := a.text(s, rounds)
	if broken != nil {
		proof += ", then: " + broken.Error()
	}
	return s.segment != a.first.segment && s.redo != a.first.redo, proof, nil
}

func (a *recycling) text(s walState, rounds int) string {
	return fmt.Sprintf("%s: %d switches with checkpoints, segment written %s → %s, oldest kept %s → %s, redo %s → %s",
		a.node, rounds, a.first.segment, s.segment, a.first.oldest, s.oldest, a.first.redo, s.redo)
}

func (a *recycling) Heal(context.Context) (string, error) {
	a.cancel()
	a.loop.Wait()
	s, rounds, broken := a.state()
	proof := "ended; " + a.text(s, rounds)
	if broken != nil {
		proof += "; it had ended by itself: " + broken.Error()
	}
	return proof, nil
}
