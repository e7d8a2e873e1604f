package local

import (
	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/topology/clusterfile"
	"github.com/spockchaos/spockchaos/topology/server"
)

// changed writes cluster.json again. That it cannot be written does not break the cluster, so it is only logged.
func (c *Cluster) changed() {
	if err := c.writeFile(false); err != nil {
		c.log.Warn("cannot write " + rundir.ClusterFile + ": " + err.Error())
	}
}

func (c *Cluster) writeFile(detached bool) error {
	f := clusterfile.File{Topology: "local", Version: c.version, Engine: c.opts.Engine.Name(), Database: server.Database,
		Root: c.root, Detached: detached}
	for _, n := range c.nodes {
		fn := clusterfile.Node{Name: n.name, DSN: n.dsn, Data: n.data, Log: n.logPath()}
		if p := n.running(); p != nil {
			fn.PID = p.pid
		}
		f.Nodes = append(f.Nodes, fn)
	}
	if detached {
		f.Stop = c.stopCommand()
	} else {
		for _, l := range c.Links() {
			f.Links = append(f.Links, clusterfile.Link{From: l.From(), To: l.To(), Addr: l.Addr()})
		}
	}
	return c.file.Write(f)
}
