package cli

import (
	"context"
	"os"

	"github.com/spf13/cobra"

	"github.com/spockchaos/spockchaos/topology/docker/drop"
)

// dropPacketsCommand is what a node's container is given a companion for.
func (a *App) dropPacketsCommand() *cobra.Command {
	return &cobra.Command{
		Use: drop.Command + " ADDRESS|" + drop.Count, Hidden: true, Args: cobra.ExactArgs(1),
		Short: "Started by a run in a node's network: has the kernel drop every packet from and to an address until it is told to end",
		RunE: func(c *cobra.Command, args []string) error {
			ctx, cancel := context.WithCancel(c.Context())
			defer cancel()
			signals := make(chan os.Signal, 1)
			defer a.Notify(signals)()
			go func() {
				select {
				case <-signals:
					cancel()
				case <-ctx.Done():
				}
			}()
			return a.DropPackets(ctx, args[0], a.Stdout)
		},
	}
}
