package fault

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/topology/engine"
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
	if err := checkLink(w, target); err != nil {
		return Reach{}, err
	}
	_, err := s.gate(p)
	return Reach{Links: []string{target}}, err
}

func (s slow) Inject(ctx context.Context, env Env, f rundir.PlannedFault) (Active, error) {
	gate, err := s.gate(f.Parameters)
	if err != nil {
		return nil, err
	}
	held, err := env.Links.hold(ctx, f.ID, gate, both(f.Target)...)
	if held == nil {
		return nil, err
	}
	return &slowed{env: env, share: held, name: f.Target, rate: gate.Rate}, err
}

type slowed struct {
	env   Env
	share *share
	name  string
	rate  int64
}

// Prove fetches through the link what takes it half a second, beside its own traffic, and
// measures how fast all of it comes: not faster than the limit, and held up by it.
func (a *slowed) Prove(ctx context.Context) (bool, string, error) {
	from, to, err := ParseLink(a.name)
	if err != nil {
		return false, "", err
	}
	l, err := a.env.Links.Get(a.name)
	if err != nil {
		return false, "", err
	}
	before, err := l.Stats(ctx)
	if err != nil {
		return false, "", err
	}
	began := time.Now()
	fetchErr := a.fetch(ctx, from, to, l.Addr())
	took := time.Since(began)
	after, err := l.Stats(context.WithoutCancel(ctx)) // the fetch may have taken all the time there was
	if err != nil {
		return false, "", err
	}
	bytes := after.DownBytes - before.DownBytes
	waited := after.Throttled - before.Throttled
	rate := float64(bytes) / took.Seconds()
	proof := fmt.Sprintf("%s: %d bytes in %s are %.0f bytes a second (limit %d), bytes waited %s for it",
		a.name, bytes, short(took), rate, a.rate, short(waited))
	if fetchErr != nil {
		proof += fmt.Sprintf("; what was asked for did not all come: %v", fetchErr)
	}
	// The link may let a first burst through at once.
	return bytes > 0 && waited > 0 && rate <= 1.5*float64(a.rate), proof, nil
}

func (a *slowed) fetch(ctx context.Context, from, to, addr string) error {
	if why := a.env.outOfService(to); why != "" {
		return notApplicable("%s", why)
	}
	// A node's conninfo of a link may name a host that nodes alone know.
	cfg, err := pgx.ParseConfig(a.env.Cluster.LinkDSN(from, to))
	if err != nil {
		return err
	}
	if _, err := netip.ParseAddr(cfg.Host); err != nil {
		at, err := netip.ParseAddrPort(addr)
		if err != nil {
			return err
		}
		cfg.Host, cfg.Port, cfg.Fallbacks = at.Addr().String(), at.Port(), nil
	}
	c, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return err
	}
	defer engine.HangUp(c)
	var got string
	return c.QueryRow(ctx, "SELECT repeat('x', $1::int)", max(a.rate/2, 1)).Scan(&got)
}

func (a *slowed) Heal(ctx context.Context) (string, error) {
	return released(ctx, a.env, a.share, a.name)
}
