package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/spockchaos/spockchaos/topology/mesh"
)

func (a *App) setupCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "setup",
		Short: "Make the nodes of a compose file a mesh, with slot tracking and rescue",
		Long: `Waits for the nodes that docker compose brought up, makes each subscribe to each other, and installs slot
tracking, the rescue and a recovery slot on each. What is there and right stays as it is, so it can be run
again, also on a mesh that is half made or damaged.

Exit status: 0 done, 1 a step failed, 2 could not run.`,
		Args: noArgs,
	}
	f := addComposeFlags(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		file, cluster, err := a.cluster(c, f)
		if err != nil {
			return err
		}
		out := c.OutOrStdout()
		if f.verbose {
			if _, err := fmt.Fprint(out, ports(file)); err != nil {
				return fmt.Errorf("writing to standard output: %w", err)
			}
		}
		signals := a.watchSignals(c.Context(), a.Stderr, "leaving the mesh as it is")
		defer signals.stop()
		cluster.Heal = file.Heal
		cluster.Waiting = func() { fmt.Fprintf(a.Stderr, "spockchaos: waiting for the servers of %s\n", f.file) }
		var printed error
		err = a.Setup(signals.ctx, cluster, func(s mesh.Step) {
			says := ""
			if s.Err != nil {
				says = s.Err.Error()
			}
			printed = errors.Join(printed, line(out, "", signOf(s.Err == nil), s.Name, len("recovery is installed"), s.Took, says))
			for _, n := range s.Notes {
				_, err := fmt.Fprintf(out, "  ! %s\n", oneLine(n))
				printed = errors.Join(printed, err)
			}
		})
		switch {
		case err != nil:
			return interrupted(signals, &exitError{ExitFindings, nil}) // the step has said why
		default:
			return printed
		}
	}
	return c
}
