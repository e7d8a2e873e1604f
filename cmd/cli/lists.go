package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

func (a *App) faultsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "faults", Short: "List the faults, one line each", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return printItems(c.OutOrStdout(), a.Faults) },
	}
}

func (a *App) workloadsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "workloads", Short: "List the workloads, one line each", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return printItems(c.OutOrStdout(), a.Workloads) },
	}
}

func printItems(w io.Writer, items []Item) error {
	width := 0
	for _, it := range items {
		width = max(width, len(it.Name))
	}
	for _, it := range items {
		if _, err := fmt.Fprintf(w, "%-*s  %s\n", width, it.Name, it.Summary); err != nil {
			return err
		}
	}
	return nil
}
