package fault

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/topology/engine"
)

// subscriptionDisabled disables the subscription of n2 to n1 (target n2>n1): n2 lags behind n1 for as long as it is on.
type subscriptionDisabled struct{ meta }

func newSubscriptionDisabled() Fault {
	return subscriptionDisabled{meta{
		name:     "subscription_disabled",
		describe: "a subscription is disabled: the subscriber (n2 of n2>n1) lags behind the provider (n1)",
		class:    OnReplication,
		span:     Span{1500 * time.Millisecond, 6 * time.Second},
	}}
}

func (subscriptionDisabled) Draw(r *rand.Rand, w World) (string, Params) {
	return LinkName(drawPeers(r, w)), Params{}
}

func (subscriptionDisabled) Touches(w World, target string, _ Params) (Reach, error) {
	subscriber, _, err := parsePeers(w, target)
	return Reach{Links: []string{target}, Needs: []string{subscriber}}, err
}

func (subscriptionDisabled) Inject(ctx context.Context, env Env, f rundir.PlannedFault) (Active, error) {
	subscriber, provider, err := parsePeers(env.world(), f.Target)
	if err != nil {
		return nil, err
	}
	d := &disabled{env: env, subscriber: subscriber, provider: provider}
	err = env.with(ctx, subscriber, func(c *pgx.Conn) error {
		s, ok, err := d.subscription(ctx, c)
		switch {
		case err != nil:
			return err
		case !ok:
			return notApplicable("%s has no subscription to %s", subscriber, provider)
		case s.Status == statusDisabled:
			return notApplicable("the subscription of %s to %s is disabled already", subscriber, provider)
		}
		d.begun = true
		if err := env.Engine.Disable(ctx, c, provider); err != nil {
			return fmt.Errorf("disable the subscription of %s to %s: %w", subscriber, provider, err)
		}
		return nil
	})
	if err != nil && !d.begun {
		return nil, err
	}
	return d, err
}

// statusDisabled and statusReplicating are statuses as engine.Subscription has them.
const (
	statusDisabled    = "disabled"
	statusReplicating = "replicating"
)

type disabled struct {
	env                  Env
	subscriber, provider string
	begun                bool
}

func (d *disabled) subscription(ctx context.Context, c *pgx.Conn) (engine.Subscription, bool, error) {
	subs, err := d.env.Engine.Subscriptions(ctx, c)
	if err != nil {
		return engine.Subscription{}, false, fmt.Errorf("subscriptions of %s: %w", d.subscriber, err)
	}
	for _, s := range subs {
		if s.Provider == d.provider {
			return s, true, nil
		}
	}
	return engine.Subscription{}, false, nil
}

func (d *disabled) Prove(ctx context.Context) (bool, string, error) {
	effect, proof := false, ""
	err := d.env.with(ctx, d.subscriber, func(c *pgx.Conn) error {
		return until(ctx, func() (bool, error) {
			s, _, err := d.subscription(ctx, c)
			if err != nil {
				return false, err
			}
			workers, err := d.env.Engine.ApplyWorkers(ctx, c, d.provider)
			if err != nil {
				return false, fmt.Errorf("apply workers of %s: %w", d.subscriber, err)
			}
			effect = s.Status == statusDisabled && len(workers) == 0
			proof = fmt.Sprintf("%s: its subscription to %s is %s, %d apply workers", d.subscriber, d.provider, s.Status, len(workers))
			return effect, nil
		})
	})
	if proof != "" || isNotApplicable(err) {
		// The last look says what there was, also when the time was out.
		return effect, proof, nil
	}
	return false, "", err
}

func (d *disabled) Heal(ctx context.Context) (string, error) {
	proof := ""
	err := d.env.with(ctx, d.subscriber, func(c *pgx.Conn) error {
		s, ok, err := d.subscription(ctx, c)
		if err != nil {
			return err
		}
		if !ok {
			proof = fmt.Sprintf("%s: its subscription to %s was removed meanwhile", d.subscriber, d.provider)
			return nil
		}
		if d.env.lost.has(d.provider) {
			proof = fmt.Sprintf("%s: its subscription to %s, which is lost, stays %s", d.subscriber, d.provider, s.Status)
			return nil
		}
		if err := d.env.Engine.Enable(ctx, c, d.provider); err != nil {
			return fmt.Errorf("enable the subscription of %s to %s: %w", d.subscriber, d.provider, err)
		}
		proof, err = d.enabled(ctx, c)
		return err
	})
	if d.env.lost.has(d.subscriber) && isNotApplicable(err) {
		return d.subscriber + " was lost meanwhile", nil
	}
	return proof, err
}

// enabled waits until the subscription replicates. A provider that cannot be
// reached now, by another fault, is no error.
func (d *disabled) enabled(ctx context.Context, c *pgx.Conn) (string, error) {
	wait, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	status := ""
	err := until(wait, func() (bool, error) {
		s, _, err := d.subscription(ctx, c)
		status = s.Status
		return status == statusReplicating, err
	})
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return "", err
	}
	if status == statusDisabled || status == "" {
		return "", fmt.Errorf("the subscription of %s to %s was enabled and is %q", d.subscriber, d.provider, status)
	}
	return fmt.Sprintf("%s: its subscription to %s is enabled, %s", d.subscriber, d.provider, status), nil
}

func isNotApplicable(err error) bool {
	var na *NotApplicable
	return errors.As(err, &na)
}
