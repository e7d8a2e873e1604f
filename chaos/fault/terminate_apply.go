package fault

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/spockchaos/spockchaos/checker/rundir"
)

// terminateApply ends the subscriber's apply worker for one provider.
type terminateApply struct{ meta }

func newTerminateApply() Fault {
	return terminateApply{meta{
		name:     "terminate_apply",
		describe: "on the subscriber (n2 of n2>n1) the apply worker for the provider (n1) is terminated",
		class:    OnReplication,
		span:     Span{1 * time.Second, 2 * time.Second},
	}}
}

func (terminateApply) Draw(r *rand.Rand, w World) (string, Params) {
	return LinkName(drawPeers(r, w)), Params{}
}

func (terminateApply) Touches(w World, target string, _ Params) (Reach, error) {
	subscriber, provider, err := parsePeers(w, target)
	return Reach{Links: []string{target}, Needs: []string{subscriber, provider}}, err
}

func (terminateApply) Inject(ctx context.Context, env Env, f rundir.PlannedFault) (Active, error) {
	subscriber, provider, err := parsePeers(env.world(), f.Target)
	if err != nil {
		return nil, err
	}
	return terminate(ctx, &terminated{
		env: env, node: subscriber, what: "apply worker for " + provider,
		pids: func(ctx context.Context, c *pgx.Conn) ([]int32, error) {
			return env.Engine.ApplyWorkers(ctx, c, provider)
		},
	})
}
