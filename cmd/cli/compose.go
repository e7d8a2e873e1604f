package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/spockchaos/spockchaos/cmd/config"
	"github.com/spockchaos/spockchaos/topology/compose"
	"github.com/spockchaos/spockchaos/topology/mesh"
)

// composeFile is the file that generate writes and the others read.
const composeFile = config.DefaultComposeFile

var errNoFile = errors.New("--compose-file names no file")

// composeFlags are those of the commands that work on the cluster of a compose file.
type composeFlags struct {
	nodes, hostPortStart int
	file                 string
	verbose              bool
}

func addComposeFlags(c *cobra.Command) *composeFlags {
	f := &composeFlags{}
	c.Flags().IntVar(&f.nodes, "nodes", 0, "how many nodes the compose file must have (default: as many as it has)")
	c.Flags().IntVar(&f.hostPortStart, "host-port-start", 0, "the port of n1 that the compose file must have (default: the one that it has)")
	c.Flags().StringVar(&f.file, "compose-file", composeFile, "the file that generate wrote")
	c.Flags().BoolVarP(&f.verbose, "verbose", "v", false, "show every node and link")
	return f
}

// cluster reads the cluster that the flags name; with a wrong number of nodes or port, the file is not the one that was meant.
func (a *App) cluster(c *cobra.Command, f *composeFlags) (*compose.Cluster, mesh.Cluster, error) {
	if c.Flags().Changed("nodes") && (f.nodes < compose.MinNodes || f.nodes > compose.MaxNodes) {
		return nil, mesh.Cluster{}, fmt.Errorf("--nodes %d must be from %d to %d", f.nodes, compose.MinNodes, compose.MaxNodes)
	}
	if f.file == "" {
		return nil, mesh.Cluster{}, errNoFile
	}
	cluster, err := compose.Load(c.Context(), f.file, a.Environ)
	if err != nil {
		return nil, mesh.Cluster{}, err
	}
	if c.Flags().Changed("nodes") && len(cluster.Nodes) != f.nodes {
		return nil, mesh.Cluster{}, fmt.Errorf("--nodes %d: %s has %d", f.nodes, f.file, len(cluster.Nodes))
	}
	if first := cluster.Nodes[0]; c.Flags().Changed("host-port-start") && first.Port != f.hostPortStart {
		return nil, mesh.Cluster{}, fmt.Errorf("--host-port-start %d: in %s %s has port %d", f.hostPortStart, f.file, first.Name, first.Port)
	}
	eng, err := a.Engine(cluster.Engine)
	if err != nil {
		return nil, mesh.Cluster{}, fmt.Errorf("%s: %w", f.file, err)
	}
	return cluster, mesh.Cluster{Engine: eng, Members: cluster.Members()}, nil
}

// line prints one thing that was done or looked at: a sign, its name, how long it took and what is to be said of it.
func line(w io.Writer, indent, sign, name string, width int, took time.Duration, says string) error {
	// Reasons come joined, and each is to be seen.
	parts := strings.Split(says, "; ")
	for i, p := range parts {
		parts[i] = oneLine(p)
	}
	text := fmt.Sprintf("%s%s %-*s %6.2f s  %s", indent, sign, width, name, took.Seconds(), strings.Join(parts, "; "))
	if _, err := fmt.Fprintln(w, strings.TrimRight(text, " ")); err != nil {
		return fmt.Errorf("writing to standard output: %w", err)
	}
	return nil
}

func signOf(ok bool) string {
	if ok {
		return "✓"
	}
	return "✗"
}

// interrupted is the error of a command that a signal ended, err if none did.
func interrupted(signals *interrupts, err error) error {
	if signals.ctx.Err() != nil {
		return &exitError{ExitInterrupted, errors.New("interrupted")}
	}
	return err
}

// ports tells where everything of a cluster is on this machine.
func ports(c *compose.Cluster) string {
	var b strings.Builder
	for _, n := range c.Nodes {
		fmt.Fprintf(&b, "  127.0.0.1:%d  %s (%s)\n", n.Port, n.Name, n.Addr)
	}
	for _, l := range c.Links {
		if l.Port != 0 {
			fmt.Fprintf(&b, "  127.0.0.1:%d  %s>%s\n", l.Port, l.From, l.To)
		}
	}
	return b.String()
}
