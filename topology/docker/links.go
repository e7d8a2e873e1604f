package docker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spockchaos/spockchaos/topology"
	"github.com/spockchaos/spockchaos/topology/link"
	"github.com/spockchaos/spockchaos/topology/link/remote"
	"github.com/spockchaos/spockchaos/topology/server"
	"github.com/spockchaos/spockchaos/topology/wait"
)

// program is this program in its own image, proxyCommand the subcommand that holds links.
const (
	program      = "/spockchaos"
	proxyCommand = "proxy"
)

// linksHost is the name by which a node knows the container links: its address is another one in each node's network.
const linksHost = "links"

// links are the cluster's links, all in one container that is in every node's network. Each listens at the port at which it
// is published, so that its port is the same for nodes and for the harness.
type links struct {
	cluster      *Cluster
	container    string
	ports        map[string]int // by name of the link
	order        []link.Spec    // without the server's address, which is known when the networks are
	control, api int            // ports of the two APIs
	remote       *remote.Set    // once the container answers
}

// newLinks plans a link from each node and the client to each node. It takes two ports more than there are links.
func newLinks(c *Cluster, ports []int) *links {
	l := &links{cluster: c, container: c.run.name("links"), ports: map[string]int{}, control: ports[0], api: ports[1]}
	ports = ports[2:]
	for _, to := range c.nodes {
		for _, from := range topology.Dialers(c, to.name) {
			spec := link.Spec{From: from, To: to.name, Port: ports[0]}
			l.ports[spec.Name()] = spec.Port
			l.order = append(l.order, spec)
			ports = ports[1:]
		}
	}
	return l
}

// linkPorts is how many ports newLinks takes for so many nodes.
func linkPorts(nodes int) int { return nodes*nodes + 2 }

// start makes the container and returns when it has every link.
func (l *links) start(ctx context.Context) error {
	c := l.cluster
	args := []string{proxyCommand, "--bind", "0.0.0.0", "--seed", strconv.FormatUint(c.opts.Seed, 10),
		"--control", everywhere(l.control), "--api", everywhere(l.api)}
	ports := []int{l.control, l.api}
	published := map[string]string{}
	for _, spec := range l.order {
		for _, n := range c.nodes {
			if n.name == spec.To {
				spec.Server = fmt.Sprintf("%s:%d", n.subnet.node, n.port)
			}
		}
		args = append(args, "--link", spec.String())
		ports = append(ports, spec.Port)
		published[spec.Name()] = server.Addr(spec.Port)
	}
	if err := l.run(ctx, args, ports); err != nil {
		return fmt.Errorf("making the container of the links: %w", err)
	}
	set, err := l.dial(ctx)
	if err == nil {
		err = set.Publish(published)
	}
	if err != nil {
		return fmt.Errorf("starting the links: %w", err)
	}
	l.remote = set
	return nil
}

func everywhere(port int) string { return "0.0.0.0:" + strconv.Itoa(port) }

// run makes the container in every network and starts it.
func (l *links) run(ctx context.Context, args []string, ports []int) error {
	ctx, cancel := steady(ctx)
	defer cancel()
	c := l.cluster
	first := c.nodes[0]
	_, err := c.api.CreateContainer(ctx, ContainerSpec{
		Name: l.container, Image: c.opts.Proxy, Labels: c.run.labels, Args: args,
		Network: first.network(), Addr: first.subnet.links.String(), Ports: ports,
	})
	if err != nil {
		return err
	}
	// Before it starts: its ports are published by way of one of the networks, and which one that is changes with them.
	for _, n := range c.nodes[1:] {
		if err := c.api.Connect(ctx, n.network(), l.container, n.subnet.links.String()); err != nil {
			return err
		}
	}
	c.ports.Release(ports...)
	return c.api.StartContainer(ctx, l.container)
}

// dial returns when the control API answers.
func (l *links) dial(ctx context.Context) (*remote.Set, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		set, err := remote.Dial(ctx, server.Addr(l.control))
		if err == nil {
			return set, nil
		}
		if state, again := l.cluster.api.Container(ctx, l.container); again == nil && !state.Running {
			text, again := l.cluster.api.Log(ctx, l.container, 3)
			return nil, errors.Join(fmt.Errorf("their container ended with status %d: %s", state.Exit, oneLine(text)), again)
		}
		if wait.For(ctx, 20*time.Millisecond) != nil {
			return nil, err
		}
	}
}

func (l *links) link(from, to string) topology.Link {
	if l.remote == nil {
		return nil
	}
	return l.remote.Link(from, to)
}

func (l *links) all() []topology.Link {
	if l.remote == nil {
		return nil
	}
	return l.remote.Links()
}

// port at which a link listens, 0 if there is none.
func (l *links) port(from, to string) int { return l.ports[link.Spec{From: from, To: to}.Name()] }

// close ends the connections to the container.
func (l *links) close() {
	if l != nil && l.remote != nil {
		l.remote.Close()
	}
}
