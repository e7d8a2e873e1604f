package cli

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/spockchaos/spockchaos/checker/rundir"
)

func (a *App) historyCommand() *cobra.Command {
	round := 0
	c := &cobra.Command{
		Use:   "history DIR",
		Short: "Print the history of a run as JSON lines",
		Long: `Prints every operation that the workload tried, one JSON object a line, in the order of
rounds and sessions. DIR is a run directory, or any directory or file below one.`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) != 1 {
				return fmt.Errorf("history needs one run directory, not %d arguments", len(args))
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			path := args[0]
			if c.Flags().Changed("round") {
				if round < 1 {
					return fmt.Errorf("--round %d: rounds are counted from 1", round)
				}
				path = rundir.RoundDir(path, round)
				if _, err := os.Stat(path); err != nil {
					return fmt.Errorf("--round %d: %s has no such round", round, args[0])
				}
			}
			err := a.History(c.OutOrStdout(), path)
			if errors.Is(err, syscall.EPIPE) {
				return nil // the reader (head, less) has seen enough
			}
			return err
		},
	}
	c.Flags().IntVar(&round, "round", 0, "only this round")
	return c
}
