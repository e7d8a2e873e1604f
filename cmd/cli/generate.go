package cli

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/spockchaos/spockchaos/topology/compose"
)

func (a *App) generateCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "generate",
		Short: "Write a compose file for a cluster in containers",
		Long: `Writes a compose file: a container and a network for each node, and a container that holds every link
between them. docker compose and docker-compose 1.29 take it unchanged.

A file that generate did not write, or that was changed since, is overwritten with --force alone.`,
		Args: noArgs,
		Example: `  spockchaos generate --nodes 3
  docker compose up -d
  spockchaos setup
  spockchaos test`,
	}
	o := compose.Defaults()
	var file string
	var baseMS, stepMS int
	var force, verbose bool
	f := c.Flags()
	f.IntVar(&o.Nodes, "nodes", o.Nodes, "how many nodes, 2 to 9")
	f.StringVar(&o.Engine, "engine", o.Engine, "what replicates: pglogical or spock")
	f.IntVar(&o.Postgres, "pg-ver", 0, "PostgreSQL version: 15, 17 or 18 (default: 17 with pglogical, 18 with spock)")
	f.IntVar(&baseMS, "base-delay-ms", 0, "delay of the first link, each way, in milliseconds")
	f.IntVar(&stepMS, "delay-step-ms", 0, "how much longer each further link delays")
	f.IntVar(&o.HostPortStart, "host-port-start", o.HostPortStart, "first of the 22 ports of 127.0.0.1 that are published, that of n1")
	f.StringVar(&o.Subnet, "subnet", o.Subnet, "IPv4 addresses of the nodes' networks, 16 for each")
	f.StringVar(&file, "compose-file", composeFile, "where to write it")
	f.BoolVar(&force, "force", false, "overwrite any file that is there")
	f.BoolVarP(&verbose, "verbose", "v", false, "show ports and delays")
	c.RunE = func(c *cobra.Command, _ []string) error {
		const most = int(compose.MaxDelay / time.Millisecond)
		for _, d := range []struct {
			flag string
			ms   int
		}{{"base-delay-ms", baseMS}, {"delay-step-ms", stepMS}} {
			if d.ms < 0 || d.ms > most {
				return fmt.Errorf("--%s %d must be from 0 to %d", d.flag, d.ms, most)
			}
		}
		if c.Flags().Changed("pg-ver") && o.Postgres == 0 {
			return errors.New("--pg-ver 0 must be 15, 17 or 18")
		}
		if file == "" {
			return errNoFile
		}
		o.BaseDelay, o.DelayStep = time.Duration(baseMS)*time.Millisecond, time.Duration(stepMS)*time.Millisecond
		cluster, err := compose.New(o)
		if err != nil {
			return err
		}
		if err := cluster.Save(c.Context(), file, force); err != nil {
			return err
		}
		var b strings.Builder
		fmt.Fprintf(&b, "%s: %d nodes of PostgreSQL %d with %s\n", file, len(cluster.Nodes), cluster.Postgres, cluster.Engine)
		if _, err := a.Engine(cluster.Engine); err != nil {
			fmt.Fprintf(&b, "  ! setup and test cannot work on it: %v\n", err)
		}
		if verbose {
			b.WriteString(ports(cluster))
			for _, l := range cluster.Links {
				fmt.Fprintf(&b, "  %s>%s delays by %s\n", l.From, l.To, l.Delay)
			}
		}
		if _, err := fmt.Fprint(c.OutOrStdout(), b.String()); err != nil {
			return fmt.Errorf("writing to standard output: %w", err)
		}
		return nil
	}
	_ = c.RegisterFlagCompletionFunc("engine", cobra.FixedCompletions([]string{compose.Pglogical, compose.Spock}, cobra.ShellCompDirectiveNoFileComp))
	_ = c.RegisterFlagCompletionFunc("pg-ver", cobra.FixedCompletions([]string{"15", "17", "18"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}
