package fault

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/topology"
	"github.com/spockchaos/spockchaos/topology/link"
)

// lag delays every byte of a link, both ways, by latency ± jitter.
type lag struct{ meta }

func newLag() Fault {
	return lag{meta{
		name:     "lag",
		describe: "one link delays every byte by latency_ms ± jitter_ms each way",
		class:    OnLink,
		span:     Span{2 * time.Second, 8 * time.Second},
	}}
}

func (lag) Draw(r *rand.Rand, w World) (string, Params) {
	latency := between(r, 10, 150)
	return drawLink(r, w), Params{paramLatency: latency, paramJitter: max(1, float64(int(latency*0.5*r.Float64())))}
}

func (lag) gate(p Params) (link.Gate, error) {
	latency, err := millis(p, paramLatency)
	if err != nil {
		return link.Gate{}, err
	}
	jitter, err := millis(p, paramJitter)
	if err != nil {
		return link.Gate{}, err
	}
	if jitter > latency {
		return link.Gate{}, fmt.Errorf("parameter %s is above %s", paramJitter, paramLatency)
	}
	return link.Gate{Latency: latency, Jitter: jitter}, nil
}

func (l lag) Touches(w World, target string, p Params) (Reach, error) {
	if err := checkLink(w, target); err != nil {
		return Reach{}, err
	}
	_, err := l.gate(p)
	return Reach{Links: []string{target}}, err
}

func (l lag) Inject(ctx context.Context, env Env, f rundir.PlannedFault) (Active, error) {
	gate, err := l.gate(f.Parameters)
	if err != nil {
		return nil, err
	}
	lk, err := env.Links.Get(f.Target)
	if err != nil {
		return nil, err
	}
	stats, err := lk.Stats(ctx)
	if err != nil {
		return nil, err
	}
	a := &lagging{env: env, link: lk, gate: gate, line: 2 * stats.Delay}
	a.before, a.beforeErr = probe(ctx, lk.Addr(), a.line+baselineLimit)
	a.share, err = env.Links.hold(ctx, f.ID, gate, both(f.Target)...)
	if a.share == nil {
		return nil, err
	}
	return a, err
}

type lagging struct {
	env       Env
	share     *share
	link      topology.Link
	gate      link.Gate
	line      time.Duration // what a round trip takes on the line itself
	before    time.Duration // of a round trip, unless beforeErr
	beforeErr error
}

// Prove measures round trips through the link: each pays at least latency−jitter twice.
func (a *lagging) Prove(ctx context.Context) (bool, string, error) {
	least := 2 * (a.gate.Latency - a.gate.Jitter)
	took, err := medianProbe(ctx, a.link.Addr(), 3, a.line+2*(a.gate.Latency+a.gate.Jitter)+time.Second)
	if err != nil {
		if ids := a.env.Links.stalledBy(a.link.Name(), a.share.fault); len(ids) > 0 {
			return false, fmt.Sprintf("%s: no round trip to measure, it is stalled by fault %d", a.link.Name(), ids[0]), nil
		}
		return false, fmt.Sprintf("%s: no round trip to measure: %v", a.link.Name(), err), nil
	}
	was := short(a.before)
	if a.beforeErr != nil {
		was = errText(a.beforeErr)
	}
	// A chunk's delay may be rounded down by the timer.
	return took-a.line >= least*9/10, fmt.Sprintf("%s: a round trip takes %s (%s before, at least %s asked for)", a.link.Name(), short(took), was, short(a.line+least)), nil
}

func (a *lagging) Heal(ctx context.Context) (string, error) {
	return released(ctx, a.env, a.share, a.link.Name())
}

func errText(err error) string {
	if errors.Is(err, errSilent) {
		return "no answer"
	}
	return "not measured"
}
