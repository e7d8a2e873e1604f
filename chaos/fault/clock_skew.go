package fault

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/topology"
	"github.com/spockchaos/spockchaos/topology/engine"
)

// ClockSkew is the name of the fault that needs nodes whose clock can be skewed (topology.ClockSkewer).
const ClockSkew = "clock_skew"

// Bounds of a drawn offset: less than the first hardly differs from how well clocks agree anyway; the other is
// what a host is off by that lost its time server for long.
const (
	leastSkew = 50 * time.Millisecond
	mostSkew  = 5 * time.Minute
)

// lookLimit bounds the comparison before the jump: a node that is up and slow gets that much time to answer.
const lookLimit = 2 * time.Second

// clockLooks is how often a clock is compared; the quickest comparison counts.
const clockLooks = 5

// clockSkew makes a node's clock of the day jump, and jump back at the end.
type clockSkew struct{ meta }

func newClockSkew() Fault {
	return clockSkew{meta{
		name:     ClockSkew,
		describe: "a node's clock jumps by offset_ms, ahead or behind, and back at the end; only with --workload conflicts or by name",
		class:    OnClock,
		span:     Span{2 * time.Second, 8 * time.Second},
		local:    true,
		with:     "conflicts",
	}}
}

// Draw takes an offset of either sign whose logarithm is evenly spread.
func (clockSkew) Draw(r *rand.Rand, w World) (string, Params) {
	target := drawNode(r, w)
	low, high := math.Log(float64(leastSkew.Milliseconds())), math.Log(float64(mostSkew.Milliseconds()))
	offset := math.Round(math.Exp(low + r.Float64()*(high-low)))
	if r.IntN(2) == 0 {
		offset = -offset
	}
	return target, Params{paramOffset: offset}
}

func (clockSkew) Touches(w World, target string, p Params) (Reach, error) {
	node, err := parseNode(w, target)
	if err != nil {
		return Reach{}, err
	}
	_, err = offset(p)
	return Reach{Nodes: []string{node}}, err
}

// offset reads a number of milliseconds, ahead or behind, at most an hour.
func offset(p Params) (time.Duration, error) {
	v, ok := p[paramOffset].(float64)
	if !ok || math.IsNaN(v) || v == 0 || math.Abs(v) > 3600_000 {
		return 0, fmt.Errorf("parameter %s is %v, must be a number other than 0, at most 3600000 either way", paramOffset, p[paramOffset])
	}
	return time.Duration(v * float64(time.Millisecond)), nil
}

// Inject skews the clock of a node that is down as well: it starts with it.
func (clockSkew) Inject(ctx context.Context, env Env, f rundir.PlannedFault) (Active, error) {
	by, err := offset(f.Parameters)
	if err != nil {
		return nil, err
	}
	n, err := env.node(f.Target)
	if err != nil {
		return nil, err
	}
	if env.lost.has(f.Target) {
		return nil, notApplicable("%s is lost", f.Target)
	}
	means, ok := n.(topology.ClockSkewer)
	if !ok {
		return nil, notApplicable("%s is a node without the means for %s", f.Target, f.Name)
	}
	s := &skewed{env: env, node: n, means: means, by: by}
	// A session from before shows later that processes that were there have the new clock.
	look, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	if s.old, err = env.connect(look, f.Target); err == nil {
		s.before, err = s.compare(look, s.old)
	}
	s.measured = err == nil
	if err := means.SkewClock(ctx, by); err != nil {
		return s, fmt.Errorf("skew the clock of %s: %w", f.Target, err)
	}
	return s, nil
}

type skewed struct {
	env      Env
	node     topology.Node
	means    topology.ClockSkewer
	by       time.Duration
	old      *pgx.Conn // from before; nil if the node did not answer then
	before   reading   // if measured
	measured bool
}

// reading bounds by how much a server's clock was ahead of ours.
type reading struct{ least, most time.Duration }

func (r reading) minus(o reading) reading { return reading{r.least - o.most, r.most - o.least} }

// rounding is what a time loses on its way from a server: it tells microseconds.
const rounding = 10 * time.Microsecond

func (r reading) has(d time.Duration) bool { return r.least-rounding <= d && d <= r.most+rounding }

func (r reading) String() string {
	return fmt.Sprintf("%s ± %s", signed((r.least+r.most)/2), short((r.most-r.least)/2))
}

// signed is an offset as proofs show it.
func signed(d time.Duration) string {
	size := d.Abs()
	if size > 10*time.Millisecond {
		size = size.Round(time.Millisecond)
	}
	if d < 0 {
		return "-" + short(size)
	}
	return "+" + short(size)
}

// compare asks a server for the time. It answered between question and answer, so the round trip bounds the error.
func (s *skewed) compare(ctx context.Context, c *pgx.Conn) (reading, error) {
	var best reading
	for i := range clockLooks {
		asked := s.env.Clock().Round(0) // without the monotonic clock
		says, err := s.env.now(ctx, c)
		answered := s.env.Clock().Round(0)
		if err != nil {
			return reading{}, fmt.Errorf("clock of %s: %w", s.node.Name(), err)
		}
		r := reading{says.Sub(answered), says.Sub(asked)}
		if i == 0 || r.most-r.least < best.most-best.least {
			best = r
		}
	}
	return best, nil
}

// change is by how much the clock differs from what it was before the fault.
func (s *skewed) change(now reading) reading {
	if s.measured {
		return now.minus(s.before)
	}
	return now
}

// Prove compares the server's clock with ours, in a session from before and in a new one, and looks at the timestamp
// of a commit.
func (s *skewed) Prove(ctx context.Context) (bool, string, error) {
	name := s.node.Name()
	var effect bool
	var proof string
	err := s.env.with(ctx, name, func(c *pgx.Conn) error {
		return until(ctx, func() (bool, error) {
			now, err := s.compare(ctx, c)
			if err != nil {
				return false, err
			}
			got := s.change(now)
			effect = got.has(s.by) && !got.has(0)
			proof = fmt.Sprintf("%s's clock is off by %s, asked for %s", name, got, signed(s.by))
			return effect, nil
		})
	})
	if proof == "" {
		if why := s.env.outOfService(name); why != "" {
			return false, why + ", its clock cannot be read", nil
		}
		return false, "", err
	}
	if s.old != nil {
		if now, err := s.compare(ctx, s.old); err == nil {
			got := s.change(now)
			effect = effect && got.has(s.by)
			proof += fmt.Sprintf("; in a session from before: %s", got)
		}
	}
	stamp, err := s.stamp(ctx)
	if err != nil {
		return effect, proof, nil // it says less, but what was seen stands
	}
	got := s.change(stamp)
	return effect && got.has(s.by), proof + fmt.Sprintf("; by the timestamp of a commit: %s", got), nil
}

// stamp commits a transaction and bounds by how much its timestamp is ahead of ours.
func (s *skewed) stamp(ctx context.Context) (reading, error) {
	var r reading
	err := s.env.with(ctx, s.node.Name(), func(c *pgx.Conn) error {
		asked := s.env.Clock().Round(0)
		at, answered, err := s.env.commit(ctx, c)
		r = reading{at.Sub(answered), at.Sub(asked)}
		return err
	})
	return r, err
}

// Heal takes the offset back, and sees that it is gone. A node that is down or paused has nothing to show.
func (s *skewed) Heal(ctx context.Context) (string, error) {
	name := s.node.Name()
	if s.old != nil {
		engine.HangUp(s.old)
		s.old = nil
	}
	if s.env.lost.has(name) {
		return name + " was lost meanwhile", nil
	}
	if err := s.means.SkewClock(ctx, 0); err != nil {
		return "", fmt.Errorf("set the clock of %s right: %w", name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, clockLimit)
	defer cancel()
	var got reading
	var last error
	if err := until(ctx, func() (bool, error) {
		if why := s.env.outOfService(name); why != "" {
			return false, notApplicable("%s", why)
		}
		last = s.env.with(ctx, name, func(c *pgx.Conn) error {
			now, err := s.compare(ctx, c)
			got = s.change(now)
			return err
		})
		return last == nil && got.has(0) && !got.has(s.by), nil
	}); err != nil {
		if isNotApplicable(err) {
			return fmt.Sprintf("the offset is taken back; %v", err), nil
		}
		if last != nil {
			return fmt.Sprintf("the offset is taken back; the clock could not be read: %v", last), nil
		}
		return "", fmt.Errorf("%s's clock is still off by %s: %w", name, got, err)
	}
	return fmt.Sprintf("%s's clock is off by %s", name, got), nil
}

// clockLimit bounds how long the end of the fault waits for the clock to be read: another fault may be on.
const clockLimit = 5 * time.Second
