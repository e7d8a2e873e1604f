package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/spockchaos/spockchaos/topology"
	"github.com/spockchaos/spockchaos/topology/clusterfile"
	"github.com/spockchaos/spockchaos/topology/watchdog"
)

// Lent is a cluster of containers that somebody else made, as much of it as Borrow needs to break it and to give it back.
type Lent struct {
	Name     string // part of the names of what is made for it: no two runs have a cluster at the same time
	Database string
	// LinksContainer holds the links; Control and Toxiproxy are the ports of 127.0.0.1 that lead to its two APIs.
	LinksContainer     string
	Control, Toxiproxy int
	Links              map[string]LentLink // by their names
	Nodes              []LentNode
}

// LentLink is how a link is reached.
type LentLink struct {
	Addr string // by the harness
	DSN  string // by who dials it
}

// LentNode is one node of a Lent cluster: a container that runs, in one network, with its data in a volume of its own.
type LentNode struct {
	Name                       string
	Container, Network, Volume string
	VolumeLabels               map[string]string
	Names                      []string   // that the container has in its network
	Addr, LinksAddr            netip.Addr // in its network, of the node and of the links
	DSN, OwnDSN                string     // from here, and from the server to itself
	Shape                      Shape      // of its container
}

// LentEnd is the word by which a borrowed cluster tells its watchdog of itself; Release ends it.
const LentEnd = "lent"

const (
	// giveBackTimeout bounds the way back to what the cluster was.
	giveBackTimeout = 3 * time.Minute
	// releaseTries is how often Release tries, while the engine may still be at what the run asked of it last.
	releaseTries = 3
)

// ErrBorrowed is in the error of Borrow when the cluster is lent already.
var ErrBorrowed = errors.New("another run has it")

// Borrow takes a cluster that is up: its links are healed, and beside it a volume for saved data and a container for each node's disk are
// made. The cluster is to be given back. On an error nothing is changed, and the API is closed.
//
// Of opts, API, Dir, Server (image and version of all nodes), Proxy, Engine, Log, Clock and WatchdogCommand are used.
func Borrow(ctx context.Context, lent Lent, opts Options) (_ *Cluster, err error) {
	opts.Nodes = len(lent.Nodes)
	if err := opts.check(); err != nil {
		return nil, err
	}
	r, err := newRun()
	if err != nil {
		return nil, err
	}
	c := borrowed(lent, opts, r)
	defer func() {
		if err != nil {
			c.mu.Lock()
			defer c.mu.Unlock()
			err = errors.Join(err, c.end(ctx))
		}
	}()
	making, cancel := steady(ctx)
	defer cancel()
	if err := c.api.CreateVolume(making, VolumeSpec{Name: c.savedVolume(), Labels: c.run.labels}); err != nil {
		return nil, fmt.Errorf("making the volume for saved data: %w", err)
	}
	// One after the other, so that of two runs that come at the same time one gets the first of them, and all.
	for _, n := range c.nodes {
		if err := n.makeDisk(ctx); errors.Is(err, ErrInUse) {
			return nil, fmt.Errorf("%w (if it was killed, spockchaos clean removes its container %s)", ErrBorrowed, n.disk())
		} else if err != nil {
			return nil, n.wrap("borrowing", err)
		}
	}
	if err := c.links.borrow(ctx); err != nil {
		return nil, err
	}
	if err := c.startLentWatchdog(); err != nil {
		return nil, err
	}
	if err := c.eachLink(ctx, func(ctx context.Context, l topology.Link) error { return l.Heal(ctx) }); err != nil {
		return nil, err
	}
	c.changed()
	return c, nil
}

// borrowed is a Cluster of what is there.
func borrowed(lent Lent, opts Options, r run) *Cluster {
	c := &Cluster{opts: opts, api: opts.API, log: opts.Log, file: clusterfile.NewWriter(opts.Dir), run: r, lent: &lent}
	c.links = &links{cluster: c, container: lent.LinksContainer, control: lent.Control, api: lent.Toxiproxy}
	for i := range lent.Nodes {
		l := &lent.Nodes[i]
		c.nodes = append(c.nodes, &node{
			cluster: c, name: l.Name, lent: l, dsn: l.DSN, own: l.OwnDSN, log: c.log.With(zap.String("node", l.Name)),
			// The disk container's name is the lock on the cluster.
			parts:  parts{container: l.Container, network: l.Network, volume: l.Volume, disk: "spockchaos-on-" + lent.Name + "-" + l.Name + "-disk", data: diskDir},
			subnet: subnet{node: l.Addr, links: l.LinksAddr},
		})
	}
	return c
}

// names are those that a node's container has in its network.
func (n *node) names() []string {
	if n.lent == nil {
		return nil
	}
	return n.lent.Names
}

// borrow finds the links in the container that holds them.
func (l *links) borrow(ctx context.Context) error {
	set, err := l.dial(ctx)
	if err != nil {
		return fmt.Errorf("reaching the links: %w", err)
	}
	l.remote = set
	at := map[string]string{}
	for name, link := range l.cluster.lent.Links {
		at[name] = link.Addr
	}
	if err := set.Publish(at); err != nil {
		return fmt.Errorf("reaching the links: %w", err)
	}
	return nil
}

// loan is what the watchdog is told.
type loan struct {
	Run    string
	Labels map[string]string
	Server string // image
	Lent   Lent
}

func (c *Cluster) startLentWatchdog() (err error) {
	if c.watchdog, err = watchdog.Start(c.opts.WatchdogCommand); err != nil {
		return err
	}
	what, err := json.Marshal(loan{Run: c.run.id, Labels: c.run.labels, Server: c.opts.Server.Ref, Lent: *c.lent})
	if err != nil {
		return err
	}
	c.watchdog.Tell(LentEnd, string(what))
	paths, err := c.file.Paths()
	for _, path := range paths {
		c.watchdog.TellFile(path)
	}
	return err
}

// GiveBack ends every fault, puts the saved data back if there are some, starts what is down, calls tidy (which may be nil) on the cluster that is
// up then, and removes what Borrow made. It may be called more than once. When the data cannot be put back, the
// saved ones stay where they are and the watchdog tries again when this program ends.
func (c *Cluster) GiveBack(ctx context.Context, tidy func(context.Context) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), giveBackTimeout)
	defer cancel()
	if err := c.recover(ctx); err != nil {
		c.closed = true
		c.links.close()
		return fmt.Errorf("giving the cluster back: %w", errors.Join(err, c.api.Close()))
	}
	var err error
	if tidy != nil {
		err = tidy(ctx)
	}
	return errors.Join(err, c.end(ctx))
}

// recover makes of a cluster whatever it can be: what was saved, or what it is without faults.
func (c *Cluster) recover(ctx context.Context) error {
	if c.saved {
		return c.restore(ctx)
	}
	if err := c.eachLink(ctx, func(ctx context.Context, l topology.Link) error { return l.Heal(ctx) }); err != nil {
		return err
	}
	return c.each(ctx, func(ctx context.Context, n *node) error {
		err := errors.Join(n.PassPackets(ctx), n.Reconnect(ctx), n.FreeMemory(ctx), n.Resume(ctx))
		if err != nil {
			return err
		}
		return n.Start(ctx)
	})
}

// Release gives back a borrowed cluster whose run was killed; what is what its watchdog was told. A run that had saved the data gets them back.
func Release(ctx context.Context, what string) error {
	var l loan
	if err := json.Unmarshal([]byte(what), &l); err != nil || l.Run == "" {
		return fmt.Errorf("it is not known what to give back: %w", err)
	}
	var err error
	for range releaseTries {
		if err = l.release(ctx); err == nil {
			return nil
		}
	}
	return err
}

func (l loan) release(ctx context.Context) (err error) {
	api, err := Connect(ctx)
	if err != nil {
		return err
	}
	opts := Options{API: api, Server: Server{Ref: l.Server}, Log: zap.NewNop(), Clock: time.Now}
	c := borrowed(l.Lent, opts, run{id: l.Run, labels: l.Labels})
	defer func() {
		c.links.close()
		err = errors.Join(err, api.Close())
	}()
	if _, err := api.Container(ctx, l.Lent.LinksContainer); errors.Is(err, ErrNotFound) { // its user has taken it down meanwhile
		return remove(ctx, api, c.run.filter(), nil)
	}
	if err := c.links.borrow(ctx); err != nil {
		return err
	}
	if c.saved, err = c.hasSaved(ctx); err != nil {
		return err
	}
	for _, n := range c.nodes {
		if _, err := api.Container(ctx, n.container()); errors.Is(err, ErrNotFound) {
			// It was being lost or made again: its disk container, if there is one, would be in the way.
			if err := api.RemoveContainer(ctx, n.disk()); err != nil {
				return err
			}
			n.lost = true
		} else if err != nil {
			return err
		}
		n.limited = limited{since: time.Now()} // it is not known that it is not
	}
	if err := c.recover(ctx); err != nil {
		return err
	}
	return remove(ctx, api, c.run.filter(), nil)
}

// hasSaved says whether the data of every node were saved.
func (c *Cluster) hasSaved(ctx context.Context) (bool, error) {
	var look []string
	for _, n := range c.nodes {
		look = append(look, "test -d "+n.saved())
	}
	for _, n := range c.nodes {
		r, err := c.api.Exec(ctx, n.disk(), root, "/bin/sh", "-c", strings.Join(look, " && "))
		if err == nil {
			return r.Status == 0, nil
		}
		if state, again := c.api.Container(ctx, n.disk()); again == nil && state.Running {
			return false, err
		}
		// This one was just being lost: all of them have the same volume.
	}
	return false, nil
}
