package cli

import (
	"github.com/spf13/cobra"

	"github.com/spockchaos/spockchaos/topology/clean"
)

func (a *App) cleanCommand() *cobra.Command {
	var opts clean.Options
	c := &cobra.Command{
		Use:   "clean",
		Short: "Remove what killed runs left behind: servers and directories, containers, networks and volumes",
		Long: `Removes what killed runs left behind: servers and directories, containers, networks and volumes,
a line for each. What belongs to a run that is still on is left alone, and so are clusters that were left
up with --keep, unless --kept is given.`,
		Args: noArgs,
	}
	c.Flags().BoolVar(&opts.DryRun, "dry-run", false, "only say what would be removed")
	c.Flags().BoolVar(&opts.Kept, "kept", false, "remove clusters that were left up with --keep as well")
	c.RunE = func(c *cobra.Command, _ []string) error { return a.Clean(c.Context(), opts, a.Stdout) }
	return c
}
