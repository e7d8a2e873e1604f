package fault

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/spockchaos/spockchaos/checker/rundir"
)

// terminateWalsender ends the provider's backend that sends to one subscriber.
type terminateWalsender struct{ meta }

func newTerminateWalsender() Fault {
	return terminateWalsender{meta{
		name:     "terminate_walsender",
		describe: "on the provider (n1 of n2>n1) the walsender for the subscriber (n2) is terminated",
		class:    OnReplication,
		span:     Span{1 * time.Second, 2 * time.Second},
	}}
}

func (terminateWalsender) Draw(r *rand.Rand, w World) (string, Params) {
	return LinkName(drawPeers(r, w)), Params{}
}

func (terminateWalsender) Touches(w World, target string, _ Params) (Reach, error) {
	subscriber, provider, err := parsePeers(w, target)
	return Reach{Links: []string{target}, Needs: []string{subscriber, provider}}, err
}

func (terminateWalsender) Inject(ctx context.Context, env Env, f rundir.PlannedFault) (Active, error) {
	subscriber, provider, err := parsePeers(env.world(), f.Target)
	if err != nil {
		return nil, err
	}
	return terminate(ctx, &terminated{
		env: env, node: provider, what: "walsender for " + subscriber,
		pids: func(ctx context.Context, c *pgx.Conn) ([]int32, error) {
			return env.Engine.WalSenders(ctx, c, subscriber)
		},
	})
}
