package cli

import (
	"github.com/spf13/cobra"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/reports"
)

func (a *App) checkCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check DIR",
		Short: "Judge a saved run again",
		Long:  `Reads the files of a run directory, judges them again and writes report.json and report.html anew.`,
		Args:  oneDir,
		RunE: func(c *cobra.Command, args []string) error {
			dir := args[0]
			if _, err := rundir.Open(dir); err != nil {
				return err
			}
			result, err := a.Check(c.Context(), dir)
			if err != nil {
				return err
			}
			rep, err := reports.Build(dir, &result)
			if err != nil {
				return err
			}
			a.printVerdict(dir, rep)
			if err := reports.Save(dir, rep); err != nil {
				return err
			}
			return verdictError(result.Verdict)
		},
	}
}
