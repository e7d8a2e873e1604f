package cli

import "github.com/spf13/cobra"

// watchdogCommand is what a run starts beside itself: a process that removes the
// cluster when the run's end of a pipe closes, however the run ended.
func (a *App) watchdogCommand() *cobra.Command {
	return &cobra.Command{
		Use: "watchdog", Hidden: true, Args: noArgs,
		Short: "Started by a run: removes its cluster when the run has died",
		RunE: func(*cobra.Command, []string) error {
			if code := a.Watchdog(a.Stdin); code != 0 {
				return &exitError{code, nil}
			}
			return nil
		},
	}
}
