package scenario

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/spockchaos/spockchaos/chaos"
	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/topology/wait"
)

// pollPause lies between two looks at what is awaited.
const pollPause = 50 * time.Millisecond

// on runs f on a direct connection to a node, which is kept for the next time. It is for one goroutine per node.
func (s *scene) on(ctx context.Context, node string, f func(*pgx.Conn) error) error {
	c := s.conns[node]
	if c == nil || c.IsClosed() {
		n := s.cluster.Node(node)
		if n == nil {
			return fmt.Errorf("no node %s", node)
		}
		var err error
		if c, err = pgx.Connect(ctx, n.DSN()); err != nil {
			return fmt.Errorf("connect to %s: %w", node, err)
		}
		s.conns[node] = c
	}
	if err := f(c); err != nil {
		return fmt.Errorf("%s: %w", node, err)
	}
	return nil
}

// connectAll opens the kept connections, so that a step can use several nodes at once.
func (s *scene) connectAll(ctx context.Context, nodes []string) error {
	for _, n := range nodes {
		if err := s.on(ctx, n, func(*pgx.Conn) error { return nil }); err != nil {
			return err
		}
	}
	return nil
}

// ask is on for one value.
func ask[T any](ctx context.Context, s *scene, node, query string, args ...any) (v T, err error) {
	err = s.on(ctx, node, func(c *pgx.Conn) error { return c.QueryRow(ctx, query, args...).Scan(&v) })
	return v, err
}

// lsn is ask for a position in a node's WAL.
func (s *scene) lsn(ctx context.Context, node, query string, args ...any) (position, error) {
	text, err := ask[string](ctx, s, node, "SELECT ("+query+")::text", args...)
	if err != nil {
		return 0, err
	}
	return rundir.ParseLSN(text)
}

// onEach runs f for every one of nodes at once.
func (s *scene) onEach(ctx context.Context, nodes []string, f func(ctx context.Context, i int, c *pgx.Conn) error) error {
	if err := s.connectAll(ctx, nodes); err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	for i, n := range nodes {
		c := s.conns[n]
		g.Go(func() error {
			if err := f(gctx, i, c); err != nil {
				return fmt.Errorf("%s: %w", n, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// await looks until done, and restarts subscriptions of awake meanwhile which the engine has left without a
// worker. Past the limit the error says what was awaited and what was missing at the last look.
func (s *scene) await(ctx context.Context, limit time.Duration, awake []string, what string, look func(context.Context) (missing string, err error)) error {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	waker := &chaos.Waker{Cluster: s.cluster, Engine: s.engine, Nodes: awake, Clock: s.deps.Clock, Log: s.deps.Log, Woken: s.woken}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		waker.Run(limited)
	}()
	defer func() { cancel(); <-ended }()
	last := ""
	for {
		missing, err := look(limited)
		switch {
		case err == nil && missing == "":
			return nil
		case limited.Err() == nil && err != nil:
			last = err.Error()
		case limited.Err() == nil:
			last = missing
		}
		if wait.For(limited, pollPause) != nil {
			if ctx.Err() != nil {
				return fmt.Errorf("%s: %w", what, ctx.Err())
			}
			return fmt.Errorf("%s: not within %s: %s", what, limit, last)
		}
	}
}

// woken notes that a subscription was restarted.
func (s *scene) woken(w rundir.Woken) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wakes = append(s.wakes, fmt.Sprintf("%s's subscription to %s had no apply worker for %.1f s and was restarted (docs/findings.md, 1)",
		w.Node, w.Provider, w.Down.Seconds()))
}
