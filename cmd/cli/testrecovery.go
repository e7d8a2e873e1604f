package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/spockchaos/spockchaos/chaos"
	"github.com/spockchaos/spockchaos/chaos/scenario"
	"github.com/spockchaos/spockchaos/cmd/config"
)

func (a *App) testRecoveryCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "test-recovery",
		Short: "Show the rescue of a node step by step on a cluster of its own",
		Long: `Makes a cluster, lets n3 lag behind n1, loses n1, rescues n3 from n2 with CALL spock.recovery, and
shows the evidence for each of the nine steps. It fails when a step's evidence is missing.

Exit status: 0 passed, 1 a step failed, 2 could not run.`,
		Args: noArgs,
		Example: `  spockchaos test-recovery
  spockchaos test-recovery --nodes 4 -v
  spockchaos test-recovery --recovery-sql my_recovery.sql --output json`,
	}
	set := config.New(c.Flags(), a.names(), "nodes", "engine", "pg-bin", "pg-ver", "image", "recovery-sql", "verbose")
	// What the settings say of a run is not all true here.
	c.Flags().Lookup("nodes").Usage = "how many nodes, 3 to 9"
	c.Flags().Lookup("verbose").Usage = "show what the rescue says, and more evidence"
	docker := c.Flags().Bool("docker", false, "make the nodes as containers")
	output := c.Flags().String("output", "text", "text or json")
	c.RunE = func(c *cobra.Command, _ []string) error {
		// Variables are for runs as well: those that this command does not take are no mistake here.
		if _, err := set.Load(a.Environ, ""); err != nil {
			return err
		}
		if err := set.CheckFiles(); err != nil {
			return err
		}
		if *output != "text" && *output != "json" {
			return fmt.Errorf("--output %q is not known: text or json", *output)
		}
		if set.Nodes < scenario.MinNodes {
			return fmt.Errorf("--nodes %d must be from %d to 9: one is lost, one has its writes, one lacks them", set.Nodes, scenario.MinNodes)
		}
		topology := "local"
		if *docker {
			topology = "docker"
		}
		return a.testRecovery(c, scenario.Config{
			Nodes: set.Nodes, Engine: set.Engine, Topology: topology, PGBin: set.PGBin, PGVer: set.PGVer, Image: set.Image, RecoverySQL: set.RecoverySQL,
		}, *output == "json", set.Verbose)
	}
	a.complete(c)
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

func (a *App) testRecovery(c *cobra.Command, cfg scenario.Config, asJSON, verbose bool) error {
	signals := a.watchSignals(c.Context(), a.Stderr, "stopping the cluster")
	defer signals.stop()
	out := c.OutOrStdout()
	report := func(s scenario.Step) { printStep(out, s, verbose) }
	if asJSON {
		report = func(scenario.Step) {}
	}
	res, err := a.TestRecovery(signals.ctx, cfg, chaos.Deps{
		Log: zap.NewNop(), Clock: a.Clock, Version: a.Version, WatchdogCommand: []string{a.Executable, "watchdog"}, Executable: a.Executable,
	}, report)
	if err != nil {
		return err
	}
	if asJSON {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		err = e.Encode(res)
	} else {
		_, err = fmt.Fprintln(out, outcome(res))
	}
	if err != nil {
		return fmt.Errorf("writing to standard output: %w", err)
	}
	if !res.Passed {
		return &exitError{ExitFindings, nil}
	}
	return nil
}

// outcome is the last line.
func outcome(res scenario.Result) string {
	for _, s := range res.Steps {
		if s.Status == scenario.Failed {
			return fmt.Sprintf("failed in step %d after %.1f s", s.Number, res.Seconds)
		}
	}
	return fmt.Sprintf("passed in %.1f s", res.Seconds)
}

// printStep prints a step, its evidence, and what is wrong with it.
func printStep(w io.Writer, s scenario.Step, verbose bool) {
	var b strings.Builder
	if s.Status == scenario.NotRun {
		fmt.Fprintf(&b, "– %d  %-50s not run\n", s.Number, s.Title)
		_, _ = fmt.Fprint(w, b.String())
		return
	}
	sign := "✓"
	if s.Status == scenario.Failed {
		sign = "✗"
	}
	fmt.Fprintf(&b, "%s %d  %-50s %5.1f s\n", sign, s.Number, s.Title, s.Seconds)
	for _, f := range s.Evidence {
		fmt.Fprintf(&b, "     %s\n", f.Text)
	}
	if verbose {
		for _, d := range s.Details {
			fmt.Fprintf(&b, "     · %s\n", d)
		}
	}
	for _, n := range s.Notes {
		fmt.Fprintf(&b, "     ! %s\n", n)
	}
	for _, p := range s.Problems {
		fmt.Fprintf(&b, "     ✗ %s\n", p)
	}
	_, _ = fmt.Fprint(w, b.String())
}
