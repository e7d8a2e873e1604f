package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/spockchaos/spockchaos/topology/mesh"
)

func (a *App) testCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "test",
		Short: "Look whether the nodes of a compose file are a mesh",
		Long: `Makes six checks: host connectivity, inter-node connectivity, extension, nodes, subscriptions, data flow. The last
one writes a row on every node, waits until it is on every other, and removes it again.

Exit status: 0 all passed, 1 one failed, 2 could not run.`,
		Args: noArgs,
	}
	f := addComposeFlags(c)
	skip := c.Flags().Bool("skip-replication", false, "leave out the data flow, the only check that writes")
	output := c.Flags().String("output", "text", "text or json")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if *output != "text" && *output != "json" {
			return fmt.Errorf("--output %q is not known: text or json", *output)
		}
		file, cluster, err := a.cluster(c, f)
		if err != nil {
			return err
		}
		out := c.OutOrStdout()
		if f.verbose && *output == "text" {
			if _, err := fmt.Fprint(out, ports(file)); err != nil {
				return fmt.Errorf("writing to standard output: %w", err)
			}
		}
		signals := a.watchSignals(c.Context(), a.Stderr, "removing what the test wrote")
		defer signals.stop()
		var printed error
		doc := testDoc{Engine: cluster.Engine.Name(), Checks: []checkDoc{}}
		for _, m := range cluster.Members {
			doc.Nodes = append(doc.Nodes, m.Name)
		}
		report := func(r mesh.Result) {
			doc.Checks = append(doc.Checks, newCheckDoc(r))
			if *output == "text" {
				printed = errors.Join(printed, printCheck(c, r, f.verbose))
			}
		}
		doc.OK, err = a.TestMesh(signals.ctx, cluster, mesh.Options{SkipReplication: *skip}, report)
		if err != nil {
			return interrupted(signals, err)
		}
		if *output == "json" {
			e := json.NewEncoder(out)
			e.SetIndent("", "  ")
			e.SetEscapeHTML(false) // links are n1>n2
			if err := e.Encode(doc); err != nil {
				printed = fmt.Errorf("writing to standard output: %w", err)
			}
		}
		if printed != nil {
			return printed
		}
		if !doc.OK {
			return &exitError{ExitFindings, nil}
		}
		return nil
	}
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

func printCheck(c *cobra.Command, r mesh.Result, verbose bool) error {
	sign := signOf(r.OK)
	if r.Skipped {
		sign = "–"
	}
	err := line(c.OutOrStdout(), "", sign, r.Name, len("inter-node connectivity"), r.Took, r.Reason)
	if verbose {
		for _, p := range r.Parts {
			err = errors.Join(err, line(c.OutOrStdout(), "    ", signOf(p.OK), p.Subject, len("client>n1"), p.Took, p.Reason))
		}
	}
	return err
}

// testDoc is what --output json prints.
type testDoc struct {
	OK     bool       `json:"ok"`
	Engine string     `json:"engine"`
	Nodes  []string   `json:"nodes"`
	Checks []checkDoc `json:"checks"`
}

type checkDoc struct {
	Name    string    `json:"name"`
	OK      bool      `json:"ok"`
	Skipped bool      `json:"skipped"`
	TookMS  float64   `json:"took_ms"`
	Reason  string    `json:"reason"`
	Parts   []partDoc `json:"parts"`
}

type partDoc struct {
	Subject string  `json:"subject"`
	OK      bool    `json:"ok"`
	TookMS  float64 `json:"took_ms"`
	Reason  string  `json:"reason"`
}

func newCheckDoc(r mesh.Result) checkDoc {
	d := checkDoc{Name: r.Name, OK: r.OK, Skipped: r.Skipped, TookMS: milliseconds(r.Took), Reason: r.Reason, Parts: []partDoc{}}
	for _, p := range r.Parts {
		d.Parts = append(d.Parts, partDoc{p.Subject, p.OK, milliseconds(p.Took), p.Reason})
	}
	return d
}

func milliseconds(d time.Duration) float64 {
	return float64(d.Round(10*time.Microsecond)) / float64(time.Millisecond)
}
