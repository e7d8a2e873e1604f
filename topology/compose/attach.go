package compose

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spockchaos/spockchaos/topology"
	"github.com/spockchaos/spockchaos/topology/docker"
	"github.com/spockchaos/spockchaos/topology/engine"
	"github.com/spockchaos/spockchaos/topology/link/remote"
	"github.com/spockchaos/spockchaos/topology/mesh"
)

// Labels that compose gives to what it makes, version 1 as well as 2.
const (
	composeProject = "com.docker.compose.project"
	composeService = "com.docker.compose.service"
	composeFiles   = "com.docker.compose.project.config_files"
	composeDir     = "com.docker.compose.project.working_dir"
	composeOneOff  = "com.docker.compose.oneoff" // of a container that `compose run` made: "True"
)

// projectVariable names the project, for compose and for us.
const projectVariable = "COMPOSE_PROJECT_NAME"

// reachLimit is how long the links may take to let this machine in.
const reachLimit = 5 * time.Second

// Attaching says how Attach works.
type Attaching struct {
	// File is where the cluster was read from.
	File string
	// Project is compose's name of it; "" is for the only one that came from the file.
	Project string
	// Tables are those, by schema and name, that an earlier run may have left and that go.
	Tables []string
	// AllowTables takes databases that hold tables of somebody else's.
	AllowTables bool
	// Options: of them, API, Dir, Proxy, Engine, Log, Clock and WatchdogCommand are used.
	Options docker.Options
	// Waiting is called once if a server is not up yet; nil for nobody.
	Waiting func()
}

// Project is the name that the environment gives a project, "" if it gives none.
func Project(environ []string) string {
	for _, e := range environ {
		if name, ok := strings.CutPrefix(e, projectVariable+"="); ok {
			return name
		}
	}
	return ""
}

// Attach borrows the containers that compose made of the cluster's file: they must all be there and run, as the file has
// them, and hold nobody's data. Until that is known, nothing is changed; an error is one line. The API is closed with the cluster, or by an error.
func (c *Cluster) Attach(ctx context.Context, a Attaching) (_ *docker.Cluster, err error) {
	api := a.Options.API
	lent, image, err := c.find(ctx, api, a)
	if err == nil {
		a.Options.Server.Ref = image
		err = c.look(ctx, &a)
	}
	if err != nil {
		return nil, errors.Join(err, api.Close())
	}
	cluster, err := docker.Borrow(ctx, lent, a.Options)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", a.File, err)
	}
	return cluster, nil
}

// Heal makes every link pass again: a run that was killed may have left them broken.
func (c *Cluster) Heal(ctx context.Context) error {
	set, err := remote.Dial(ctx, net.JoinHostPort("127.0.0.1", strconv.Itoa(c.ControlPort)))
	if err != nil {
		return fmt.Errorf("healing the links: %w", err)
	}
	defer set.Close()
	return topology.Each(ctx, set.Links(), func(ctx context.Context, l topology.Link) error { return l.Heal(ctx) })
}

// find makes sure that the containers are what the file says.
func (c *Cluster) find(ctx context.Context, api docker.API, a Attaching) (lent docker.Lent, image string, err error) {
	found, project, err := c.containers(ctx, api, a)
	if err != nil {
		return lent, "", err
	}
	volumes, err := api.Volumes(ctx, LabelCluster+"="+c.Label)
	if err != nil {
		return lent, "", fmt.Errorf("listing volumes: %w", err)
	}
	links := found[RoleLinks]
	if links.Published[controlPort] != c.ControlPort {
		return lent, "", fmt.Errorf("%s: container %s does not publish port %d at %d: was the file changed after it came up?", a.File, links.Name, controlPort, c.ControlPort)
	}
	lent = docker.Lent{Name: project, Database: c.Nodes[0].Database, LinksContainer: links.Name, Control: c.ControlPort, Toxiproxy: c.ToxiproxyPort,
		Links: map[string]docker.LentLink{}}
	for i := range c.Nodes {
		n := &c.Nodes[i]
		box := found[n.Name]
		l, err := n.lend(box, links, volumes)
		if err != nil {
			return lent, "", fmt.Errorf("%s: container %s %w: was the file changed after it came up?", a.File, box.Name, err)
		}
		switch {
		case n.Name != fmt.Sprintf("n%d", i+1):
			return lent, "", fmt.Errorf("%s: a run needs nodes n1 to n%d, and there is %s", a.File, len(c.Nodes), n.Name)
		case n.Database != lent.Database:
			return lent, "", fmt.Errorf("%s: the databases have different names, %s and %s", a.File, lent.Database, n.Database)
		case box.Restarts:
			return lent, "", fmt.Errorf("%s: container %s is started again when it ends (restart): nothing can be killed so", a.File, box.Name)
		}
		if l.Shape, err = api.Shape(ctx, box.ID); err != nil {
			return lent, "", fmt.Errorf("looking at container %s: %w", box.Name, err)
		}
		lent.Nodes = append(lent.Nodes, l)
	}
	for _, l := range c.Links {
		at := net.JoinHostPort("127.0.0.1", strconv.Itoa(l.Port))
		if l.From != topology.Client {
			at = net.JoinHostPort(c.Node(l.From).LinksAddr.String(), strconv.Itoa(l.Listen))
		}
		lent.Links[l.From+">"+l.To] = docker.LentLink{Addr: at, DSN: c.LinkDSN(l.From, l.To)}
	}
	return lent, found[c.Nodes[0].Name].Image, nil
}

// containers are those of the file, by service, all of them up.
func (c *Cluster) containers(ctx context.Context, api docker.API, a Attaching) (map[string]docker.Container, string, error) {
	up := fmt.Sprintf("docker compose -f %s up -d", a.File)
	list, err := api.Containers(ctx, LabelCluster+"="+c.Label)
	if err != nil {
		return nil, "", fmt.Errorf("listing containers: %w", err)
	}
	list = slices.DeleteFunc(list, func(b docker.Container) bool {
		return b.Labels[composeProject] == "" || strings.EqualFold(b.Labels[composeOneOff], "true") || b.Labels[LabelDisposable] != "true"
	})
	project := a.Project
	for _, b := range list {
		switch p := b.Labels[composeProject]; {
		case a.Project != "":
		case project == "":
			project = p
		case p != project:
			return nil, "", fmt.Errorf("%s: projects %s and %s have containers of such a file: name one, %s=%s", a.File, project, p, projectVariable, p)
		}
	}
	found := map[string]docker.Container{}
	for _, b := range list {
		service := b.Labels[composeService]
		if b.Labels[composeProject] != project {
			continue
		}
		if other := otherFile(b.Labels, a.File); other != "" {
			return nil, "", fmt.Errorf("%s: project %s was brought up from another file, %s", a.File, project, other)
		}
		if _, twice := found[service]; twice {
			return nil, "", fmt.Errorf("%s: service %s has more than one container", a.File, service)
		}
		found[service] = b
	}
	if len(found) == 0 {
		return nil, "", fmt.Errorf("%s is not up: %s", a.File, up)
	}
	services := []string{RoleLinks}
	for _, n := range c.Nodes {
		services = append(services, n.Name)
	}
	for _, s := range services {
		b, there := found[s]
		switch {
		case !there:
			return nil, "", fmt.Errorf("%s: service %s has no container: %s", a.File, s, up)
		case b.Paused:
			return nil, "", fmt.Errorf("%s: %s is paused: docker compose -f %s unpause", a.File, s, a.File)
		case !b.Running:
			return nil, "", fmt.Errorf("%s: %s does not run: %s", a.File, s, up)
		}
		if found[s], err = api.Container(ctx, b.ID); err != nil {
			return nil, "", fmt.Errorf("looking at container %s: %w", b.Name, err)
		}
	}
	return found, project, nil
}

// otherFile is the file that compose made a container of, as far as it says so, unless it is the one that is meant.
func otherFile(labels map[string]string, file string) string {
	if labels[composeFiles] == "" {
		return ""
	}
	meant := real(file)
	for f := range strings.SplitSeq(labels[composeFiles], ",") {
		// Version 1 writes it as it was given, from wherever that was; the directory is that of the file.
		if filepath.IsAbs(f) && real(f) == meant || !filepath.IsAbs(f) && real(filepath.Join(labels[composeDir], filepath.Base(f))) == meant {
			return ""
		}
	}
	return labels[composeFiles]
}

// real is a path without symbolic links, as far as it can be had.
func real(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	if target, err := filepath.EvalSymlinks(path); err == nil {
		return target
	}
	return path
}

// lend says what a node is made of, or what its container lacks.
func (n *Node) lend(box, links docker.Container, volumes []docker.Volume) (docker.LentNode, error) {
	l := docker.LentNode{Name: n.Name, Container: box.Name, Names: []string{n.Name}, Addr: n.Addr, LinksAddr: n.LinksAddr, DSN: n.DSN(), OwnDSN: n.OwnDSN()}
	for network, at := range box.Addrs {
		if at == n.Addr.String() && links.Addrs[network] == n.LinksAddr.String() {
			l.Network = network
		}
	}
	i := slices.IndexFunc(volumes, func(v docker.Volume) bool { return v.Name == box.Volumes[n.Data] })
	switch {
	case l.Network == "" || len(box.Addrs) != 1:
		return l, fmt.Errorf("is not in one network at %s with the links at %s", n.Addr, n.LinksAddr)
	case box.Published[pgPort] != n.Port:
		return l, fmt.Errorf("does not publish port %d at %d", pgPort, n.Port)
	case i < 0:
		return l, fmt.Errorf("has no volume of this cluster at %s", n.Data)
	}
	l.Volume, l.VolumeLabels = volumes[i].Name, volumes[i].Labels
	return l, nil
}

// look makes sure that the servers can be had for a run: up, with the engine, without anybody's data, and with links that this machine reaches.
func (c *Cluster) look(ctx context.Context, a *Attaching) error {
	m := mesh.Cluster{Engine: a.Options.Engine, Members: c.Members(), Waiting: a.Waiting}
	if err := mesh.AwaitServers(ctx, m); err != nil {
		return fmt.Errorf("%s: %w", a.File, errors.New(strings.Join(strings.Split(err.Error(), "\n"), "; ")))
	}
	s, err := inspect(ctx, m, append([]string{engine.ProbeTable}, a.Tables...))
	if err != nil {
		return fmt.Errorf("%s: %w", a.File, err)
	}
	if len(s.foreign) > 0 && !a.AllowTables {
		return fmt.Errorf("%s: %s; a run breaks and destroys nodes: --allow-user-tables takes them along", a.File, s.say())
	}
	a.Options.Server.Version, a.Options.Server.VersionNum = s.version, s.number
	for _, l := range c.Links {
		if l.From == topology.Client {
			continue
		}
		at := net.JoinHostPort(c.Node(l.From).LinksAddr.String(), strconv.Itoa(l.Listen))
		dialer := net.Dialer{Timeout: reachLimit}
		conn, err := dialer.DialContext(ctx, "tcp", at)
		if err != nil {
			return fmt.Errorf("%s: this machine does not reach link %s>%s at %s, as a run has to: is the container engine in a machine of its own?", a.File, l.From, l.To, at)
		}
		_ = conn.Close()
		break // the others are in the same container
	}
	return nil
}
