package fault

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/topology/link"
)

// slow limits a link's bandwidth, each way.
type slow struct{ meta }

func newSlow() Fault {
	return slow{meta{
		name:     "slow",
		describe: "one link passes at most bytes_per_second each way",
		class:    OnLink,
		span:     Span{2 * time.Second, 8 * time.Second},
	}}
}

func (slow) Draw(r *rand.Rand, w World) (string, Params) {
	return drawLink(r, w), Params{paramRate: 1024 * between(r, 32, 512)}
}

func (slow) gate(p Params) (link.Gate, error) {
	rate, err := positive(p, paramRate, 1<<40)
	return link.Gate{Rate: int64(max(1, rate))}, err
}

func (s slow) Touches(w World, target string, p Params) (Reach, error) {
	if _, _, err := parseAnyLink(w, target); err != nil {
		return Reach{}, err
	}
	_, err := s.gate(p)
	return Reach{Links: []string{target}}, err
}

func (s slow) Inject(_ context.Context, env Env, f rundir.PlannedFault) (Active, error) {
	if _, err := s.Touches(env.world(), f.Target, f.Parameters); err != nil {
		return nil, err
	}
	gate, err := s.gate(f.Parameters)
	if err != nil {
		return nil, err
	}
	release, err := env.Links.hold(f.ID, gate, both(f.Target)...)
	if err != nil {
		return nil, err
	}
	return &slowed{env: env, id: f.ID, name: f.Target, rate: gate.Rate, release: release}, nil
}

type slowed struct {
	env     Env
	id      int
	name    string
	rate    int64
	release func()
}

// Prove fetches what takes the link half a second and measures how fast it comes.
func (a *slowed) Prove(ctx context.Context) (bool, string, error) {
	from, to, err := ParseLink(a.name)
	if err != nil {
		return false, "", err
	}
	if why := a.env.outOfService(to); why != "" {
		return false, fmt.Sprintf("%s: no rate to measure: %s", a.name, why), nil
	}
	if ids := a.env.Links.stalledBy(a.name, a.id); len(ids) > 0 {
		return false, fmt.Sprintf("%s: no rate to measure, it is stalled by fault %d", a.name, ids[0]), nil
	}
	c, err := pgx.Connect(ctx, a.env.Cluster.LinkDSN(from, to))
	if err != nil {
		return false, fmt.Sprintf("%s: no rate to measure: %v", a.name, err), nil
	}
	defer hangUp(c)
	size := max(a.rate/2, 1)
	began := time.Now()
	var got int64
	if err := c.QueryRow(ctx, "SELECT length(repeat('x', $1::int)), repeat('x', $1::int)", size).Scan(&got, new(string)); err != nil {
		return false, fmt.Sprintf("%s: %d bytes did not come in %s", a.name, size, short(time.Since(began))), nil
	}
	took := time.Since(began)
	measured := float64(size) / took.Seconds()
	// The link may let a first burst through at once.
	return measured <= 1.5*float64(a.rate), fmt.Sprintf("%s: %d bytes took %s, %.0f bytes a second (limit %d)", a.name, size, short(took), measured, a.rate), nil
}

func (a *slowed) Heal(ctx context.Context) (string, error) {
	a.release()
	return reopened(ctx, a.env, a.id, []string{a.name})
}
