package compose_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/spockchaos/spockchaos/topology"
	"github.com/spockchaos/spockchaos/topology/compose"
	"github.com/spockchaos/spockchaos/topology/docker"
	"github.com/spockchaos/spockchaos/topology/docker/dockertest"
	"github.com/spockchaos/spockchaos/topology/docker/image"
	"github.com/spockchaos/spockchaos/topology/docker/image/imagetest"
	"github.com/spockchaos/spockchaos/topology/engine/pglogical"
	"github.com/spockchaos/spockchaos/topology/mesh"
)

// composers are the commands that understand compose files, of those that people have.
func composers(t *testing.T) [][]string {
	t.Helper()
	var all [][]string
	for _, c := range [][]string{{"docker", "compose"}, {"docker-compose"}} {
		if exec.CommandContext(t.Context(), c[0], append(c[1:], "version")...).Run() == nil {
			all = append(all, c)
		}
	}
	if len(all) > 0 {
		return all
	}
	if os.Getenv("SPOCKCHAOS_TEST_DOCKER") == "required" {
		t.Fatal("neither docker compose nor docker-compose answers")
	}
	t.Skip("neither docker compose nor docker-compose answers")
	return nil
}

// freeOptions are options whose ports and subnet nobody has.
func freeOptions(t *testing.T, api docker.API) compose.Options {
	t.Helper()
	networks, err := api.Networks(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	o := compose.Defaults()
	for range 100 {
		o.Subnet = fmt.Sprintf("10.191.%d.0/24", 16+rand.IntN(240))
		o.HostPortStart = 20000 + 22*rand.IntN(500)
		if freeSubnet(networks, netip.MustParsePrefix(o.Subnet)) && freePorts(o.HostPortStart) {
			return o
		}
	}
	t.Fatal("no free subnet and ports")
	return o
}

func freeSubnet(networks []docker.Network, want netip.Prefix) bool {
	return !slices.ContainsFunc(networks, func(n docker.Network) bool {
		return slices.ContainsFunc(n.Subnets, func(s string) bool {
			p, err := netip.ParsePrefix(s)
			return err == nil && p.Overlaps(want)
		})
	})
}

func freePorts(first int) bool {
	for port := first; port < first+22; port++ {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			return false
		}
		_ = l.Close()
	}
	return true
}

// What generate writes comes up, becomes a mesh, is one, can be broken and is given back, is none while a node is down, and goes.
func TestUp(t *testing.T) {
	api := dockertest.Connect(t)
	t.Cleanup(func() { _ = api.Close() })
	command := composers(t)
	dockertest.Node(t, api, "17")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	o := freeOptions(t, api)
	o.BaseDelay, o.DelayStep = 20*time.Millisecond, time.Millisecond
	cluster, err := compose.New(o)
	if err != nil {
		t.Fatal(err)
	}
	text, err := cluster.Text(ctx)
	if err != nil {
		t.Fatal(err)
	}
	// The links' image is that of this very program.
	text = bytes.Replace(text, []byte(image.Self), []byte(imagetest.Self(t, api)), 1)
	file := filepath.Join(t.TempDir(), "docker-compose.yml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if cluster, err = compose.Load(ctx, file, nil); err != nil {
		t.Fatal(err)
	}
	for _, c := range command {
		run(t, ctx, c, file, "config", "-q")
	}

	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		if t.Failed() {
			t.Log(run(t, ctx, command[0], file, "logs", "--tail", "40"))
		}
		run(t, ctx, command[0], file, "down", "-v")
	})
	run(t, ctx, command[0], file, "up", "-d")
	m := mesh.Cluster{Engine: pglogical.New(), Members: cluster.Members()}
	setUp(t, ctx, m)
	setUp(t, ctx, m)
	if bad := failed(t, ctx, m); len(bad) > 0 {
		t.Errorf("not a mesh: %v", bad)
	}
	delayed(t, ctx, cluster)
	noOtherWay(t, ctx, api, cluster)
	(&lending{t: t, api: api, cluster: cluster, file: file}).all(ctx)
	if bad := failed(t, ctx, m); len(bad) > 0 {
		t.Errorf("not a mesh after a run: %v", bad)
	}

	run(t, ctx, command[0], file, "stop", "n2")
	if err := (&lending{t: t, api: api, cluster: cluster, file: file}).attach(ctx); err == nil || !strings.Contains(err.Error(), "n2 does not run: docker compose -f ") {
		t.Errorf("with n2 stopped: %v", err)
	}
	if bad := failed(t, ctx, m); len(bad) != 6 {
		t.Errorf("with n2 stopped only these checks fail: %v", bad)
	}
	run(t, ctx, command[0], file, "start", "n2")
	setUp(t, ctx, m)
	if bad := failed(t, ctx, m); len(bad) > 0 {
		t.Errorf("not a mesh after a node came back: %v", bad)
	}

	run(t, ctx, command[0], file, "down", "-v")
	label := compose.LabelCluster + "=" + cluster.Label
	containers, err1 := api.Containers(ctx, label)
	networks, err2 := api.Networks(ctx, label)
	volumes, err3 := api.Volumes(ctx, label)
	if err1 != nil || err2 != nil || err3 != nil || len(containers)+len(networks)+len(volumes) > 0 {
		t.Errorf("left behind: %v %v %v (%v, %v, %v)", containers, networks, volumes, err1, err2, err3)
	}
}

// run a compose command on a file; it is told of by its last lines when it fails.
func run(t *testing.T, ctx context.Context, command []string, file string, args ...string) string {
	t.Helper()
	all := append(append(slices.Clone(command[1:]), "-f", file, "-p", "spockchaos"+strings.ToLower(filepath.Base(filepath.Dir(filepath.Dir(file))))), args...)
	out, err := exec.CommandContext(ctx, command[0], all...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", strings.Join(command, " "), strings.Join(args, " "), err, out)
	}
	return string(out)
}

func setUp(t *testing.T, ctx context.Context, m mesh.Cluster) {
	t.Helper()
	err := mesh.Setup(ctx, m, func(s mesh.Step) { t.Logf("%-22s %s %v", s.Name, s.Took.Round(time.Millisecond), s.Notes) })
	if err != nil {
		t.Fatal(err)
	}
}

// failed are the checks that failed, with their reasons.
func failed(t *testing.T, ctx context.Context, m mesh.Cluster) []string {
	t.Helper()
	var bad []string
	_, err := mesh.Check(ctx, m, mesh.Options{}, func(r mesh.Result) {
		if !r.OK {
			bad = append(bad, r.Name+": "+r.Reason)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return bad
}

// delayed fails the test unless a round trip through a link takes what the link is to add.
func delayed(t *testing.T, ctx context.Context, cluster *compose.Cluster) {
	t.Helper()
	c, err := pgx.Connect(ctx, cluster.LinkDSN(topology.Client, "n3"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(ctx) }()
	began := time.Now()
	if err := c.Ping(ctx); err != nil {
		t.Fatal(err)
	}
	if took, least := time.Since(began), 2*cluster.Link(topology.Client, "n3").Delay; took < least || least != 44*time.Millisecond {
		t.Errorf("a round trip took %s, at least %s", took, least)
	}
}

// noOtherWay fails the test unless n1 reaches n2 by their link and by nothing else.
func noOtherWay(t *testing.T, ctx context.Context, api docker.API, cluster *compose.Cluster) {
	t.Helper()
	containers, err := api.Containers(ctx, compose.LabelCluster+"="+cluster.Label)
	if err != nil {
		t.Fatal(err)
	}
	if len(containers) != 4 {
		t.Errorf("%d containers", len(containers))
	}
	var n1 string
	for _, c := range containers {
		if c.Labels[compose.LabelDisposable] != "true" || c.Labels[compose.LabelRole] == "" {
			t.Errorf("%s has labels %v", c.Name, c.Labels)
		}
		if c.Labels[compose.LabelNode] == "n1" {
			n1 = c.ID
		}
	}
	from, to := cluster.Node("n1"), cluster.Node("n2")
	gateway := from.Network.Addr().Next()
	for _, way := range []struct {
		name string
		host netip.Addr
		port int
		open bool
	}{
		{"link", from.LinksAddr, cluster.Link("n1", "n2").Listen, true},
		{"address", to.Addr, 5432, false},
		{"published port", gateway, to.Port, false},
	} {
		r, err := api.Exec(ctx, n1, "postgres", "pg_isready", "-t", "3", "-h", way.host.String(), "-p", fmt.Sprint(way.port))
		if err != nil {
			t.Fatal(err)
		}
		if (r.Status == 0) != way.open {
			t.Errorf("n1 reaches n2 by its %s: %v, should be %v: %s", way.name, r.Status == 0, way.open, r.Stdout)
		}
	}
}
