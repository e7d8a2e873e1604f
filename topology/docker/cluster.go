package docker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/spockchaos/spockchaos/topology"
	"github.com/spockchaos/spockchaos/topology/clusterfile"
	"github.com/spockchaos/spockchaos/topology/engine"
	"github.com/spockchaos/spockchaos/topology/link"
	"github.com/spockchaos/spockchaos/topology/server"
	"github.com/spockchaos/spockchaos/topology/watchdog"
)

const (
	// stepTimeout bounds one thing that the engine makes.
	stepTimeout = 60 * time.Second
	// removeTimeout bounds the end of everything.
	removeTimeout = 2 * time.Minute
)

// steady is a context for what must not be given up halfway: the engine would go on with it, and nobody knew.
func steady(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), stepTimeout)
}

// Cluster is a topology.Cluster of containers.
type Cluster struct {
	opts     Options
	api      API
	log      *zap.Logger
	run      run
	password string
	lent     *Lent         // nil for a cluster that was made here
	ports    *server.Ports // nil for a lent one
	nodes    []*node
	links    *links
	watchdog *watchdog.Watchdog
	file     *clusterfile.Writer

	mu     sync.Mutex // guards saved, closed; Save, Restore, Close hold it throughout
	saved  bool
	closed bool
}

var _ topology.Cluster = (*Cluster)(nil)

// New makes a cluster and returns when every server answers. The engine's settings are in place; Wire
// wires the mesh. On an error nothing is left behind.
func New(ctx context.Context, opts Options) (_ *Cluster, err error) {
	if err := opts.check(); err != nil {
		return nil, err
	}
	c := &Cluster{opts: opts, api: opts.API, log: opts.Log, file: clusterfile.NewWriter(opts.Dir), password: server.NewPassword()}
	if c.run, err = newRun(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close(context.WithoutCancel(ctx)))
		}
	}()
	if err = c.startWatchdog(); err != nil {
		return nil, err
	}
	if err = c.plan(); err != nil {
		return nil, err
	}
	if err = c.makeNetworks(ctx); err != nil {
		return nil, err
	}
	if err = c.makeAll(ctx); err != nil {
		return nil, err
	}
	c.changed()
	return c, nil
}

func (c *Cluster) startWatchdog() (err error) {
	if c.watchdog, err = watchdog.Start(c.opts.WatchdogCommand); err != nil {
		return err
	}
	c.watchdog.Tell(WatchdogEnd, c.run.id)
	paths, err := c.file.Paths()
	if err != nil {
		return err
	}
	for _, path := range paths {
		c.watchdog.TellFile(path)
	}
	return nil
}

// plan gives every node and link its name and port.
func (c *Cluster) plan() error {
	count := c.opts.Nodes
	ports, held, err := server.ReservePorts(count + linkPorts(count))
	if err != nil {
		return err
	}
	c.ports = held
	starts := server.WALStarts(c.opts.Seed, count)
	for i := range count {
		name := fmt.Sprintf("n%d", i+1)
		part, dsn := c.run.name(name), c.dsn("127.0.0.1", ports[i])
		c.nodes = append(c.nodes, &node{cluster: c, name: name, port: ports[i], dsn: dsn, own: dsn,
			parts:    parts{container: part, network: part, volume: part, disk: c.run.name(name + "-disk"), data: dataDir},
			walStart: starts[i], log: c.log.With(zap.String("node", name))})
	}
	c.links = newLinks(c, ports[count:])
	return nil
}

// makeAll makes every container. The image makes the first node's data; the others' are copies of it, which
// is several times as fast. They share a system identifier: logical replication and pglogical compare none.
func (c *Cluster) makeAll(ctx context.Context) error {
	making, cancel := steady(ctx)
	defer cancel()
	if err := c.api.CreateVolume(making, VolumeSpec{Name: c.savedVolume(), Labels: c.run.labels}); err != nil {
		return fmt.Errorf("making the volume for saved data: %w", err)
	}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.links.start(gctx) })
	made := make(chan struct{})
	for i, n := range c.nodes {
		g.Go(func() error { return n.wrap("making", n.make(gctx, i == 0, made)) })
	}
	return g.Wait()
}

func (c *Cluster) savedVolume() string { return c.run.name("saved") }

// startAll starts every node, together.
func (c *Cluster) startAll(ctx context.Context) error {
	return c.each(ctx, func(ctx context.Context, n *node) error { return n.Start(ctx) })
}

func (c *Cluster) each(ctx context.Context, f func(context.Context, *node) error) error {
	return topology.Each(ctx, c.nodes, f)
}

func (c *Cluster) dsn(host string, port int) string {
	return fmt.Sprintf("host=%s port=%d user=%s password=%s dbname=%s sslmode=disable connect_timeout=5",
		host, port, server.Superuser, c.password, server.Database)
}

// Nodes are n1 to nN.
func (c *Cluster) Nodes() []topology.Node {
	all := make([]topology.Node, len(c.nodes))
	for i, n := range c.nodes {
		all[i] = c.public(n)
	}
	return all
}

// Node by name, nil if there is none.
func (c *Cluster) Node(name string) topology.Node {
	for _, n := range c.nodes {
		if n.name == name {
			return c.public(n)
		}
	}
	return nil
}

// public is a node with the means that it has.
func (c *Cluster) public(n *node) topology.Node {
	if c.opts.VolumeSize > 0 {
		return sizedNode{n}
	}
	return n
}

// Link is the link by which from reaches to.
func (c *Cluster) Link(from, to string) topology.Link { return c.links.link(from, to) }

// Links of the cluster.
func (c *Cluster) Links() []topology.Link { return c.links.all() }

// LinkDSN is the conninfo by which from reaches to; "" if there is no such link. A node's is of use in nodes alone, and in all of them: a rescue's
// coordinator is given the way from target to source.
func (c *Cluster) LinkDSN(from, to string) string {
	if c.lent != nil {
		return c.lent.Links[link.Spec{From: from, To: to}.Name()].DSN
	}
	port := c.links.port(from, to)
	if port == 0 {
		return ""
	}
	for _, n := range c.nodes {
		if n.name == from {
			return c.dsn(linksHost, port)
		}
	}
	return c.dsn("127.0.0.1", port)
}

// Version of the servers, "15.18".
func (c *Cluster) Version() string { return c.opts.Server.Version }

// VersionNum of the servers, 150018.
func (c *Cluster) VersionNum() int { return c.opts.Server.VersionNum }

// Run is the value of the label LabelRun on everything of the cluster.
func (c *Cluster) Run() string { return c.run.id }

// Members are the nodes as the engine sees them.
func (c *Cluster) Members() []engine.Member { return topology.Members(c) }

// Wire wires the mesh; it returns when every subscription replicates.
func (c *Cluster) Wire(ctx context.Context) error { return c.opts.Engine.Wire(ctx, c.Members()) }

// Ready returns when a row written on every node was seen on every other one.
func (c *Cluster) Ready(ctx context.Context) error { return engine.Probe(ctx, c.Members()) }

// Close removes every container, network and volume; a lent cluster is given back. It may be called more than once.
func (c *Cluster) Close(ctx context.Context) error {
	if c.lent != nil {
		return c.GiveBack(ctx, nil)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.end(ctx)
}

// end removes what was made. c.mu is held.
func (c *Cluster) end(ctx context.Context) error {
	if c.closed {
		return nil
	}
	c.closed = true
	// However late it is: what is not removed now stays.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeTimeout)
	defer cancel()
	c.links.close()
	err := errors.Join(remove(ctx, c.api, c.run.filter(), nil), c.file.Remove())
	if err == nil {
		err = c.watchdog.Dismiss(ctx)
	} // else the watchdog tries again when this program ends
	if c.ports != nil {
		c.ports.ReleaseAll()
	}
	if err := errors.Join(err, c.api.Close()); err != nil {
		return fmt.Errorf("closing the cluster: %w", err)
	}
	return nil
}

// Detach leaves the cluster up, links included, and ends everything else. It returns the command that
// removes it. cluster.json stays. The cluster is not to be used afterwards.
func (c *Cluster) Detach(ctx context.Context) (stop string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return "", errors.New("leaving the cluster up: it is closed")
	}
	if c.lent != nil {
		return "", errors.New("leaving the cluster up: it stays up anyway")
	}
	c.closed = true
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stepTimeout)
	defer cancel()
	// Whoever cleans up knows by it that this cluster is nobody's, and meant to be.
	err = c.api.CreateVolume(ctx, VolumeSpec{Name: c.run.name("kept"), Labels: c.run.with(LabelKept)})
	stop = c.stopCommand()
	c.links.close()
	return stop, errors.Join(err, c.writeFile(ctx, true), c.watchdog.Dismiss(ctx), c.api.Close())
}

// stopCommand is a shell command that removes everything of the cluster.
func (c *Cluster) stopCommand() string {
	f := "-qf label=" + c.run.filter()
	return "docker ps -a " + f + " | xargs -r docker rm -fv; docker network ls " + f + " | xargs -r docker network rm; docker volume ls " +
		f + " | xargs -r docker volume rm"
}

// changed writes cluster.json again. That it cannot be written does not break the cluster, so it is only logged.
func (c *Cluster) changed() {
	ctx, cancel := context.WithTimeout(context.Background(), stepTimeout)
	defer cancel()
	if err := c.writeFile(ctx, false); err != nil {
		c.log.Warn("cannot write " + c.file.Path() + ": " + err.Error())
	}
}

func (c *Cluster) writeFile(ctx context.Context, detached bool) error {
	if c.file.Path() == "" {
		return nil
	}
	f := clusterfile.File{Topology: "docker", Version: c.Version(), Engine: c.opts.Engine.Name(), Database: server.Database,
		Run: c.run.id, Toxiproxy: server.Addr(c.links.api), Detached: detached}
	if c.lent != nil {
		f.Topology, f.Database = "compose", c.lent.Database
	}
	for _, n := range c.nodes {
		fn := clusterfile.Node{Name: n.name, DSN: n.dsn, Container: n.container()}
		if state, err := c.api.Container(ctx, n.container()); err == nil {
			fn.PID = state.PID
		}
		f.Nodes = append(f.Nodes, fn)
	}
	for _, l := range c.Links() {
		f.Links = append(f.Links, clusterfile.Link{From: l.From(), To: l.To(), Addr: l.Addr()})
	}
	if detached {
		f.Stop = c.stopCommand()
	}
	return c.file.Write(f)
}
