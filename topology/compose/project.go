package compose

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/spockchaos/spockchaos/topology/docker/image"
	"github.com/spockchaos/spockchaos/topology/engine"
	"github.com/spockchaos/spockchaos/topology/engine/pglogical"
	"github.com/spockchaos/spockchaos/topology/engine/spock"
	"github.com/spockchaos/spockchaos/topology/link"
	"github.com/spockchaos/spockchaos/topology/server"
)

// Ports of the links' container beside those of the links.
const (
	toxiproxyPort = 8474
	controlPort   = 8475
)

// stopTime is how long a server may take to stop cleanly.
const stopTime = types.Duration(time.Minute)

// project is the cluster as compose's own types have it. It has no name: compose takes the directory's.
func (c *Cluster) project() *types.Project {
	p := &types.Project{Services: types.Services{}, Networks: types.Networks{}, Volumes: types.Volumes{}}
	settings := c.settings()
	links := types.ServiceConfig{Name: RoleLinks}
	links.Image = image.Self
	links.Command = c.proxyArgs()
	links.Hostname = RoleLinks
	links.Labels = c.labels(RoleLinks, "")
	links.HealthCheck = health(time.Second, "CMD", "/spockchaos", "proxy", "--healthy", fmt.Sprintf("127.0.0.1:%d", controlPort))
	links.Networks = map[string]*types.ServiceNetworkConfig{}
	for _, n := range c.Nodes {
		p.Services[n.Name] = c.node(n, settings)
		p.Networks[n.Name] = types.NetworkConfig{
			Driver: "bridge", Labels: c.labels("", n.Name),
			Ipam: types.IPAMConfig{Config: []*types.IPAMPool{{Subnet: n.Network.String(), Gateway: plus(n.Network.Addr(), 1).String()}}},
		}
		p.Volumes[n.Name] = types.VolumeConfig{Labels: c.labels("", n.Name)}
		links.Networks[n.Name] = &types.ServiceNetworkConfig{Ipv4Address: n.LinksAddr.String()}
	}
	for _, l := range c.Links {
		if l.Port != 0 {
			links.Ports = append(links.Ports, published(l.Port, l.Listen))
		}
	}
	links.Ports = append(links.Ports, published(c.ToxiproxyPort, toxiproxyPort), published(c.ControlPort, controlPort))
	p.Services[RoleLinks] = links
	return p
}

func (c *Cluster) node(n Node, settings []string) types.ServiceConfig {
	env := types.MappingWithEquals{}
	for k, v := range map[string]string{"POSTGRES_USER": n.User, "POSTGRES_PASSWORD": n.Password, "POSTGRES_DB": n.Database, "PGDATA": n.Data} {
		env[k] = &v
	}
	s := types.ServiceConfig{Name: n.Name}
	s.Image = n.Image
	s.Hostname = n.Name
	s.Command = settings
	s.Environment = env
	s.Labels = c.labels(RoleNode, n.Name)
	s.Networks = map[string]*types.ServiceNetworkConfig{n.Name: {Ipv4Address: n.Addr.String()}}
	s.Ports = []types.ServicePortConfig{published(n.Port, pgPort)}
	s.Volumes = []types.ServiceVolumeConfig{{Type: types.VolumeTypeVolume, Source: n.Name, Target: n.Data}}
	// By TCP: while the entrypoint prepares the database, a server may answer at the socket.
	s.HealthCheck = health(2*time.Second, "CMD", "pg_isready", "-q", "-h", "127.0.0.1", "-p", strconv.Itoa(pgPort), "-U", n.User, "-d", n.Database)
	s.ExtraHosts = types.HostsList{RoleLinks: {n.LinksAddr.String()}}
	stop := stopTime
	s.StopGracePeriod = &stop
	return s
}

// settings are the server's command line.
func (c *Cluster) settings() []string {
	var eng engine.Engine = pglogical.New()
	if c.Engine == Spock {
		eng = spock.New()
	}
	// Whether the image's server knows the list of output plugins is not known here: the set-up looks.
	all := server.Settings(len(c.Nodes), c.Postgres*10000, false, eng)
	all["listen_addresses"] = "*"
	args := []string{"postgres"}
	for _, k := range slices.Sorted(maps.Keys(all)) {
		args = append(args, "--"+k+"="+all[k]) // one line in the file, where -c would be two
	}
	return args
}

// proxyArgs are the arguments of the command that holds the links.
func (c *Cluster) proxyArgs() []string {
	args := []string{"proxy", "--bind", "0.0.0.0", "--api", fmt.Sprintf("0.0.0.0:%d", toxiproxyPort), "--control", fmt.Sprintf("0.0.0.0:%d", controlPort)}
	for _, l := range c.Links {
		args = append(args, "--link", link.Spec{
			From: l.From, To: l.To, Port: l.Listen, Delay: l.Delay, Server: fmt.Sprintf("%s:%d", c.Node(l.To).Addr, pgPort),
		}.String())
	}
	return args
}

func (c *Cluster) labels(role, node string) types.Labels {
	l := types.Labels{LabelCluster: c.Label, LabelDisposable: "true"}
	if role != "" {
		l[LabelRole] = role
	}
	if node != "" {
		l[LabelNode] = node
	}
	return l
}

func health(every time.Duration, test ...string) *types.HealthCheckConfig {
	interval, timeout, retries := types.Duration(every), types.Duration(5*time.Second), uint64(60)
	return &types.HealthCheckConfig{Test: test, Interval: &interval, Timeout: &timeout, Retries: &retries}
}

func published(host, container int) types.ServicePortConfig {
	return types.ServicePortConfig{HostIP: "127.0.0.1", Published: strconv.Itoa(host), Target: uint32(container), Protocol: "tcp", Mode: "ingress"}
}
