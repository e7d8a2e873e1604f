package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/spockchaos/spockchaos/chaos"
	"github.com/spockchaos/spockchaos/cmd/config"
)

func (a *App) managerCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "manager",
		Short: "Advance the recovery slots of a cluster that runs already",
		Long: `Calls spock.advance_recovery_slot_to_min_position() on every node that is named, each period, until Ctrl-C or for
the duration. It logs when a slot is held and by which peer, when it moves again, and how far it has come. A node
that does not answer is tried again.

Exit status: 0 ended as it was asked to, 2 could not run.`,
		Args: noArgs,
		Example: `  spockchaos manager --node "n1=host=10.0.0.1 dbname=app" --node "n2=host=10.0.0.2 dbname=app"
  spockchaos manager --compose-file docker-compose.yml --period 5s`,
	}
	nodes := addNodeFlags(c)
	period := c.Flags().Duration("period", time.Second, "how often each node's slot is advanced")
	duration := c.Flags().Duration("duration", 0, "end after this long; 0 is at Ctrl-C")
	install := c.Flags().Bool("install", false, "put recovery procedures and recovery slot on nodes that lack them")
	set := config.New(c.Flags(), a.names(), "log-format", "quiet", "verbose")
	c.Flags().Lookup("verbose").Usage = "log every call"
	c.RunE = func(c *cobra.Command, _ []string) error {
		if _, err := set.Load(a.Environ, ""); err != nil {
			return err
		}
		if *period < minPeriod {
			return fmt.Errorf("--period %s must be %s or more", *period, minPeriod)
		}
		if *duration < 0 {
			return fmt.Errorf("--duration %s must not be negative", *duration)
		}
		all, _, err := nodes.read(c, a)
		if err != nil {
			return err
		}
		out := a.newOutput(set.Settings)
		defer out.close()
		signals := a.watchSignals(c.Context(), a.Stderr, "the slots stay where they are")
		defer signals.stop()
		ctx := signals.ctx
		if *duration > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, *duration)
			defer cancel()
		}
		return a.Manage(ctx, chaos.Managing{Nodes: all, Period: *period, Install: *install, Log: out.log, Clock: a.Clock})
	}
	a.complete(c)
	return c
}

// minPeriod is the shortest period of a manager: each call asks every peer.
const minPeriod = 50 * time.Millisecond
