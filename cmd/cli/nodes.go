package cli

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/spockchaos/spockchaos/topology/attach"
	"github.com/spockchaos/spockchaos/topology/clusterfile"
	"github.com/spockchaos/spockchaos/topology/compose"
)

// nodeFlags are those of the commands that work on a cluster which runs already, whoever made it.
type nodeFlags struct {
	nodes                []string
	cluster, composeFile string
}

func addNodeFlags(c *cobra.Command) *nodeFlags {
	f := &nodeFlags{}
	c.Flags().StringArrayVar(&f.nodes, "node", nil, "`NAME=DSN` of a node, as this machine reaches it; once for each")
	c.Flags().StringVar(&f.cluster, "cluster", "", "directory of a run whose cluster is up (--keep), or its cluster.json: take the nodes from there")
	c.Flags().StringVar(&f.composeFile, "compose-file", "", "take the nodes from this file, which generate wrote")
	return f
}

// errNoNodes is nodes without any.
var errNoNodes = errors.New("no nodes: name them by --node NAME=DSN, --cluster DIR or --compose-file FILE")

// read is the nodes that the flags name, in their order; --node goes before what a file says. described are those that only a file names.
func (f *nodeFlags) read(c *cobra.Command, a *App) (nodes []attach.Node, described map[string]bool, err error) {
	described = map[string]bool{}
	place := map[string]int{}
	add := func(n attach.Node) {
		if i, there := place[n.Name]; there {
			nodes[i] = n
			return
		}
		place[n.Name] = len(nodes)
		nodes = append(nodes, n)
	}
	switch {
	case f.cluster != "" && f.composeFile != "":
		return nil, nil, errors.New("--cluster and --compose-file both say which nodes there are: give one")
	case f.cluster != "":
		file, err := clusterfile.Read(f.cluster)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil, fmt.Errorf("--cluster %s: there is no cluster.json", f.cluster)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("--cluster %s: %w", f.cluster, err)
		}
		if len(file.Nodes) == 0 {
			return nil, nil, fmt.Errorf("--cluster %s: it names no nodes", f.cluster)
		}
		for _, n := range file.Nodes {
			add(attach.Node{Name: n.Name, DSN: n.DSN})
			described[n.Name] = true
		}
	case f.composeFile != "":
		file, err := compose.Load(c.Context(), f.composeFile, a.Environ)
		if err != nil {
			return nil, nil, err
		}
		for i := range file.Nodes {
			add(attach.Node{Name: file.Nodes[i].Name, DSN: file.Nodes[i].DSN()})
			described[file.Nodes[i].Name] = true
		}
	}
	named := map[string]bool{}
	for _, text := range f.nodes {
		n, err := attach.ParseNode(text)
		if err != nil {
			return nil, nil, fmt.Errorf("--node %w", err)
		}
		if named[n.Name] {
			return nil, nil, fmt.Errorf("--node names %s twice", n.Name)
		}
		named[n.Name] = true
		delete(described, n.Name)
		add(n)
	}
	if len(nodes) == 0 {
		return nil, nil, errNoNodes
	}
	return nodes, described, nil
}
