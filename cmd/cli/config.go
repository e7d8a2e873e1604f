package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/spockchaos/spockchaos/cmd/config"
	"github.com/spockchaos/spockchaos/topology/compose"
)

func (a *App) configCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "config",
		Short: "Print the effective configuration of a run as YAML",
		Long: `Prints what ` + "`run`" + ` would do with the same flags, SPOCKCHAOS_* variables and --config file, as
YAML that --config reads back.`,
		Args: noArgs,
	}
	set := config.New(c.Flags(), a.names())
	file := configFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := a.load(set, *file); err != nil {
			return err
		}
		text, err := set.YAML()
		if err != nil {
			return fmt.Errorf("writing the configuration: %w", err)
		}
		_, err = c.OutOrStdout().Write(text)
		return err
	}
	a.complete(c)
	return c
}

func configFlag(c *cobra.Command) *string {
	return c.Flags().String("config", "", "YAML file of settings, by the names of these flags")
}

// load fills set from the environment and the file, and says which variables it passed over.
func (a *App) load(set *config.Set, file string) error {
	if file == "" {
		file = a.env(config.EnvName("config"))
	}
	ignored, err := set.Load(a.Environ, file)
	if err != nil {
		return err
	}
	for _, name := range ignored {
		fmt.Fprintf(a.Stderr, "spockchaos: %s is no setting of this command; it has no effect\n", name)
	}
	if err := set.CheckTopology(); err != nil {
		return err
	}
	if err := a.settleCompose(set); err != nil {
		return err
	}
	return set.CheckFiles()
}

// settleCompose takes nodes and engine from the compose file, where a cluster of compose's is to be run.
func (a *App) settleCompose(set *config.Set) error {
	if set.Topology != "compose" {
		return nil
	}
	if set.ComposeFile == "" {
		return errNoFile
	}
	cluster, err := compose.Load(context.Background(), set.ComposeFile, a.Environ)
	if err != nil {
		return err
	}
	if err := set.Settle("nodes", strconv.Itoa(len(cluster.Nodes)), set.ComposeFile); err != nil {
		return err
	}
	return set.Settle("engine", cluster.Engine, set.ComposeFile)
}

// env is the value of a variable, "" if there is none.
func (a *App) env(name string) string {
	for _, e := range a.Environ {
		if k, v, ok := strings.Cut(e, "="); ok && k == name {
			return v
		}
	}
	return ""
}

// complete gives the shell the words of the settings that have some.
func (a *App) complete(c *cobra.Command) {
	for flag, items := range map[string][]Item{"faults": a.Faults, "workload": a.Workloads, "engine": a.Engines, "topology": a.Topologies} {
		if c.Flags().Lookup(flag) == nil {
			continue
		}
		var words []string
		for _, it := range items {
			words = append(words, it.Name+"\t"+it.Summary)
		}
		// It fails only for a flag that does not exist.
		_ = c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
	}
	for flag, words := range map[string][]string{"pg-ver": {"15", "16", "17", "18"}, "rounds": {"fresh"}, "log-format": {"auto", "console", "json"}} {
		if c.Flags().Lookup(flag) != nil {
			_ = c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
		}
	}
}
