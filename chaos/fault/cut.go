package fault

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/topology"
	"github.com/spockchaos/spockchaos/topology/link"
)

// cut closes a link's connection once, in the middle of what it carries: after so many more bytes.
type cut struct{ meta }

func newCut() Fault {
	return cut{meta{
		name:     "cut",
		describe: "one link's connection is closed once after bytes more bytes of one direction: in the middle of a message or transaction",
		class:    OnLink,
		span:     Span{2 * time.Second, 4 * time.Second},
	}}
}

func (cut) Draw(r *rand.Rand, w World) (string, Params) {
	return drawLink(r, w), Params{paramDirection: oneOf(r, directionUp, directionDown), paramBytes: between(r, 100, 20_000)}
}

func (cut) read(p Params) (link.Direction, int64, error) {
	dirs, err := directions(p)
	if err != nil {
		return 0, 0, err
	}
	if len(dirs) != 1 {
		return 0, 0, fmt.Errorf("parameter %s must be up or down", paramDirection)
	}
	n, err := positive(p, paramBytes, 1<<40)
	return dirs[0], int64(max(1, n)), err
}

func (c cut) Touches(w World, target string, p Params) (Reach, error) {
	if err := checkLink(w, target); err != nil {
		return Reach{}, err
	}
	_, _, err := c.read(p)
	return Reach{Links: []string{target}}, err
}

func (c cut) Inject(ctx context.Context, env Env, f rundir.PlannedFault) (Active, error) {
	dir, after, err := c.read(f.Parameters)
	if err != nil {
		return nil, err
	}
	l, err := env.Links.Get(f.Target)
	if err != nil {
		return nil, err
	}
	before, err := l.Stats(ctx)
	if err != nil {
		return nil, err
	}
	s, err := env.Links.hold(ctx, f.ID, link.Gate{CutAfter: after}, end{f.Target, dir})
	if s == nil {
		return nil, err
	}
	return &cutting{env: env, share: s, link: l, dir: dir, after: after, before: before}, err
}

type cutting struct {
	env    Env
	share  *share
	link   topology.Link
	dir    link.Direction
	after  int64
	before link.Stats
}

// Prove waits until the link's own traffic has used the bytes up. It sends none itself: that would
// cut a connection of ours in place of one that matters. The executor asks again before the end.
func (a *cutting) Prove(ctx context.Context) (bool, string, error) {
	now := a.before
	err := until(ctx, func() (bool, error) {
		s, err := a.link.Stats(ctx)
		if err != nil {
			return false, err
		}
		now = s
		return now.Cut > a.before.Cut, nil
	})
	if err != nil && ctx.Err() == nil { // a wait that ran out is told by the counters
		return false, "", err
	}
	n := now.Cut - a.before.Cut
	if n == 0 {
		bytes := passed(now, a.dir) - passed(a.before, a.dir)
		return false, fmt.Sprintf("%s %s: not cut, only %d of %d bytes passed", a.link.Name(), dirName(a.dir), bytes, a.after), nil
	}
	return true, fmt.Sprintf("%s %s: %d connection closed after %d bytes", a.link.Name(), dirName(a.dir), n, a.after), nil
}

func (a *cutting) Heal(ctx context.Context) (string, error) {
	return released(ctx, a.env, a.share, a.link.Name())
}
