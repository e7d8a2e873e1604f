package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/spockchaos/spockchaos/topology"
	"github.com/spockchaos/spockchaos/topology/clusterfile"
	"github.com/spockchaos/spockchaos/topology/engine"
	"github.com/spockchaos/spockchaos/topology/link"
	"github.com/spockchaos/spockchaos/topology/local/clock"
	"github.com/spockchaos/spockchaos/topology/server"
	"github.com/spockchaos/spockchaos/topology/watchdog"
)

// Cluster is a topology.Cluster of local processes.
type Cluster struct {
	opts     Options
	log      *zap.Logger
	account  account
	root     string
	version  string
	number   int
	password string
	nodes    []*node
	ports    *server.Ports // of the nodes
	links    *link.Set
	clockLib string // what servers preload, "" for nothing
	byPair   map[[2]string]topology.Link
	watchdog *watchdog.Watchdog

	spawnMu sync.Mutex // forks one at a time

	file *clusterfile.Writer

	mu     sync.Mutex // guards saved, closed; Save, Restore, Close hold it throughout
	saved  bool
	closed bool
}

var _ topology.Cluster = (*Cluster)(nil)
var _ topology.Node = (*node)(nil)

// New makes a cluster and returns when every server answers. The engine's settings are in place; Wire
// wires the mesh. On an error nothing is left behind.
func New(ctx context.Context, opts Options) (_ *Cluster, err error) {
	if err := opts.check(); err != nil {
		return nil, err
	}
	c := &Cluster{opts: opts, log: opts.Log, file: clusterfile.NewWriter(opts.Dir), byPair: map[[2]string]topology.Link{}, password: server.NewPassword()}
	if c.version, c.number, err = serverVersion(ctx, opts.BinDir); err != nil {
		return nil, err
	}
	if c.account, err = serverAccount(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close(context.WithoutCancel(ctx)))
		}
	}()
	if err = c.makeRoot(); err != nil {
		return nil, err
	}
	if opts.ClockSkew {
		if c.clockLib, err = clock.Build(ctx, c.root); err != nil {
			return nil, err
		}
	}
	if err = c.makeNodes(ctx); err != nil {
		return nil, fmt.Errorf("making the nodes: %w", err)
	}
	if err = c.makeLinks(); err != nil {
		return nil, err
	}
	if err = c.startAll(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

// makeRoot makes the cluster's directory and the watchdog that will remove it.
func (c *Cluster) makeRoot() error {
	parent, err := filepath.Abs(c.opts.DataParent)
	if err != nil {
		return err
	}
	// Processes are known by their working directory, which has no symbolic links.
	if parent, err = filepath.EvalSymlinks(parent); err != nil {
		return fmt.Errorf("the directory for data: %w", err)
	}
	if err := c.account.reach(parent); err != nil {
		return err
	}
	root, err := os.MkdirTemp(parent, rootPrefix)
	if err != nil {
		return fmt.Errorf("making the directory for data: %w", err)
	}
	c.root = root
	if err := writeMarker(root, false); err != nil {
		return err
	}
	if err := c.account.own(root); err != nil {
		return err
	}
	// A socket's path has at most 107 bytes.
	if sock := filepath.Join(root, "s", ".s.PGSQL.65535"); len(sock) > 107 {
		return fmt.Errorf("the path %s is too long for a socket: set TMPDIR to a shorter directory", sock)
	}
	for _, d := range []string{"s", "saved"} {
		if err := c.mkdir(filepath.Join(root, d)); err != nil {
			return err
		}
	}
	if c.watchdog, err = watchdog.Start(c.opts.WatchdogCommand); err != nil {
		return err
	}
	c.watchdog.Tell(WatchdogEnd, root)
	paths, err := c.file.Paths()
	if err != nil {
		return err
	}
	for _, path := range paths {
		c.watchdog.TellFile(path)
	}
	return nil
}

func (c *Cluster) mkdir(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	return c.account.own(dir)
}

func (c *Cluster) makeNodes(ctx context.Context) error {
	ports, held, err := server.ReservePorts(c.opts.Nodes)
	if err != nil {
		return err
	}
	c.ports = held
	for i, port := range ports {
		name := fmt.Sprintf("n%d", i+1)
		dir := filepath.Join(c.root, name)
		if err := c.mkdir(dir); err != nil {
			return err
		}
		n := &node{
			cluster: c, name: name, dir: dir, data: filepath.Join(dir, "data"), port: port,
			dsn: c.dsn(port), log: c.log.With(zap.String("node", name)),
		}
		c.nodes = append(c.nodes, n)
		if err := n.makeClock(); err != nil {
			return err
		}
	}
	first := c.nodes[0].data
	if err := c.initdb(ctx, first); err != nil {
		return err
	}
	if err := c.createDatabase(ctx, first); err != nil {
		return err
	}
	_, hasList := c.setting(ctx, first, "output_plugin_libraries")
	for _, n := range c.nodes[1:] {
		if err := copyTree(ctx, first, n.data); err != nil {
			return fmt.Errorf("copying the first node's data for %s: %w", n.name, err)
		}
	}
	for _, n := range c.nodes {
		s := settings(&c.opts, c.number, hasList, n.port, filepath.Join(c.root, "s"))
		if err := writeSettings(n.data, s); err != nil {
			return err
		}
	}
	return c.spreadWAL(ctx)
}

func (c *Cluster) makeLinks() error {
	var err error
	if c.links, err = link.NewSet(link.Loopback, c.opts.Seed, c.log); err != nil {
		return err
	}
	for _, to := range c.nodes {
		for _, from := range topology.Dialers(c, to.name) {
			l, err := c.links.New(link.Spec{From: from, To: to.name, Server: server.Addr(to.port)})
			if err != nil {
				return err
			}
			c.byPair[[2]string{from, to.name}] = topology.InProcess{Link: l}
		}
	}
	return nil
}

// startAll starts every node, together.
func (c *Cluster) startAll(ctx context.Context) error {
	return c.each(ctx, func(ctx context.Context, n *node) error { return n.Start(ctx) })
}

func (c *Cluster) each(ctx context.Context, f func(context.Context, *node) error) error {
	return topology.Each(ctx, c.nodes, f)
}

func (c *Cluster) dsn(port int) string {
	return fmt.Sprintf("host=127.0.0.1 port=%d user=%s password=%s dbname=%s sslmode=disable connect_timeout=5",
		port, Superuser, c.password, Database)
}

// Nodes are n1 to nN.
func (c *Cluster) Nodes() []topology.Node {
	all := make([]topology.Node, len(c.nodes))
	for i, n := range c.nodes {
		all[i] = n
	}
	return all
}

// Node by name, nil if there is none.
func (c *Cluster) Node(name string) topology.Node {
	for _, n := range c.nodes {
		if n.name == name {
			return n
		}
	}
	return nil
}

// Link is the link by which from reaches to.
func (c *Cluster) Link(from, to string) topology.Link { return c.byPair[[2]string{from, to}] }

// Links of the cluster.
func (c *Cluster) Links() []topology.Link {
	held := c.links.Links()
	all := make([]topology.Link, len(held))
	for i, l := range held {
		all[i] = c.Link(l.From(), l.To())
	}
	return all
}

// LinkDSN is the conninfo by which from reaches to; "" if there is no such link.
func (c *Cluster) LinkDSN(from, to string) string {
	l := c.Link(from, to)
	if l == nil {
		return ""
	}
	var port int
	if _, p, ok := strings.Cut(l.Addr(), ":"); ok {
		_, _ = fmt.Sscan(p, &port)
	}
	return c.dsn(port)
}

// Version of the servers, "15.18".
func (c *Cluster) Version() string { return c.version }

// VersionNum of the servers, 150018.
func (c *Cluster) VersionNum() int { return c.number }

// Root is the directory that holds everything of the cluster.
func (c *Cluster) Root() string { return c.root }

// Members are the nodes as the engine sees them.
func (c *Cluster) Members() []engine.Member { return topology.Members(c) }

// Wire wires the mesh; it returns when every subscription replicates.
func (c *Cluster) Wire(ctx context.Context) error { return c.opts.Engine.Wire(ctx, c.Members()) }

// Ready returns when a row written on every node was seen on every other one.
func (c *Cluster) Ready(ctx context.Context) error { return engine.Probe(ctx, c.Members()) }

// Close ends every process and link and removes the data. It may be called more than once.
func (c *Cluster) Close(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	// However late it is: what is not cleaned up now stays for good.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), topology.StopTimeout)
	defer cancel()
	var errs []error
	if c.ports != nil {
		c.ports.ReleaseAll()
	}
	if c.links != nil {
		errs = append(errs, c.links.Close())
	}
	for _, n := range c.nodes {
		n.op.Lock()
		errs = append(errs, n.wrap("ending", n.stop(ctx, topology.StopKill)))
		errs = append(errs, n.wrap("ending", n.closeClock()))
		n.op.Unlock()
	}
	if c.root != "" {
		errs = append(errs, Destroy(ctx, c.root))
	}
	errs = append(errs, c.file.Remove(), c.watchdog.Dismiss(ctx))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("closing the cluster: %w", err)
	}
	return nil
}

// Detach leaves the servers running and ends everything else: the links end with this program, so the nodes
// no longer replicate until their subscriptions are given other addresses. It returns the command
// that ends the servers. cluster.json stays. The cluster is not to be used afterwards.
func (c *Cluster) Detach(ctx context.Context) (stop string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return "", errors.New("leaving the cluster up: it is closed")
	}
	c.closed = true
	stop = c.stopCommand()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	c.log.Info("the links end with this program: the nodes no longer replicate by themselves")
	errs := []error{c.writeFile(true), writeMarker(c.root, true), c.links.Close(), c.watchdog.Dismiss(ctx)}
	for _, n := range c.nodes {
		errs = append(errs, n.wrap("leaving", n.closeClock()))
	}
	return stop, errors.Join(errs...)
}

// stopCommand is a shell command that ends the servers and removes their data.
func (c *Cluster) stopCommand() string {
	var pids []string
	for _, n := range c.nodes {
		if p := n.running(); p != nil {
			pids = append(pids, fmt.Sprint(p.pid))
		}
	}
	return fmt.Sprintf("kill -INT %s; sleep 2; rm -rf %s", strings.Join(pids, " "), c.root)
}
