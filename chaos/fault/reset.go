package fault

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/topology"
)

// reset ends every connection of a link with a TCP reset, again and again while it is on.
type reset struct{ meta }

func newReset() Fault {
	return reset{meta{
		name:     "reset",
		describe: "every connection of one link is reset, again every every_ms",
		class:    OnLink,
		span:     Span{1 * time.Second, 3 * time.Second},
	}}
}

func (reset) Draw(r *rand.Rand, w World) (string, Params) {
	return drawLink(r, w), Params{paramEvery: between(r, 300, 1500)}
}

func (reset) Touches(w World, target string, p Params) (Reach, error) {
	if err := checkLink(w, target); err != nil {
		return Reach{}, err
	}
	_, err := millis(p, paramEvery)
	return Reach{Links: []string{target}}, err
}

func (reset) Inject(ctx context.Context, env Env, f rundir.PlannedFault) (Active, error) {
	every, err := millis(f.Parameters, paramEvery)
	if err != nil {
		return nil, err
	}
	l, err := env.Links.Get(f.Target)
	if err != nil {
		return nil, err
	}
	a := &resetting{env: env, id: f.ID, link: l, stop: make(chan struct{})}
	if err := a.first(ctx); err != nil {
		return nil, fmt.Errorf("reset %s: %w", f.Target, err)
	}
	// The loop outlives ctx: Heal ends it.
	a.loop.Go(func() { a.repeat(context.WithoutCancel(ctx), every) })
	return a, nil
}

type resetting struct {
	env  Env
	id   int
	link topology.Link
	stop chan struct{}
	once sync.Once
	loop sync.WaitGroup

	mu     sync.Mutex
	times  int
	closed int    // connections closed, the probe's included
	probe  string // what became of a connection of our own
	ended  bool   // it ended
	err    error  // why the loop gave up
}

// first resets while a connection of our own is open, so that there is something to see
// on an idle link too.
func (a *resetting) first(ctx context.Context) error {
	stats, err := a.link.Stats(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*stats.Delay+baselineLimit)
	defer cancel()
	c, err := dial(ctx, a.link.Addr())
	if err == nil {
		defer c.Close()
		_, err = ask(c)
	}
	if err != nil {
		a.probe = "a connection of our own was not answered before"
	}
	if err := a.reset(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	if err != nil {
		return nil
	}
	if err := c.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
		return nil // closed already, by the reset: the read below would say the same
	}
	if _, err := c.Read(make([]byte, 1)); err != nil && !isTimeout(err) {
		a.ended = true
		a.probe = "a connection of our own ended: " + rootCause(err)
	} else {
		a.probe = "a connection of our own stayed open"
	}
	return nil
}

func (a *resetting) reset(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	n, err := a.link.Reset(ctx)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.times++
	a.closed += n
	return err
}

func (a *resetting) repeat(ctx context.Context, every time.Duration) {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-a.stop:
			return
		case <-t.C:
			if err := a.reset(ctx); err != nil {
				a.mu.Lock()
				a.err = err
				a.mu.Unlock()
				return
			}
		}
	}
}

func (a *resetting) Prove(context.Context) (bool, string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.closed > 0 || a.ended, fmt.Sprintf("%s: %d connections reset; %s", a.link.Name(), a.closed, a.probe), nil
}

func (a *resetting) Heal(ctx context.Context) (string, error) {
	a.once.Do(func() { close(a.stop) })
	a.loop.Wait()
	text, err := reopened(ctx, a.env, a.id, []string{a.link.Name()})
	a.mu.Lock()
	defer a.mu.Unlock()
	return fmt.Sprintf("%d connections reset in %d times; %s", a.closed, a.times, text), errors.Join(err, a.err)
}
