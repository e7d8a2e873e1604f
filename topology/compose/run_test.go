package compose_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"github.com/spockchaos/spockchaos/chaos"
	"github.com/spockchaos/spockchaos/checker"
	"github.com/spockchaos/spockchaos/topology"
	"github.com/spockchaos/spockchaos/topology/clustertest"
	"github.com/spockchaos/spockchaos/topology/compose"
	"github.com/spockchaos/spockchaos/topology/docker"
	"github.com/spockchaos/spockchaos/topology/docker/dockertest"
	"github.com/spockchaos/spockchaos/topology/docker/image/imagetest"
	"github.com/spockchaos/spockchaos/topology/engine/pglogical"
	"github.com/spockchaos/spockchaos/topology/link"
)

// lending is a cluster that compose brought up, and what runs do with it.
type lending struct {
	t       *testing.T
	api     docker.API
	cluster *compose.Cluster
	file    string
}

func (l *lending) all(ctx context.Context) {
	before := l.shapes(ctx)
	l.refuses(ctx)
	l.breaks(ctx)
	l.runs(ctx)
	if now := l.shapes(ctx); !maps.Equal(now, before) {
		l.t.Errorf("the containers were\n%v\nand are\n%v", before, now)
	}
	if left := l.helpers(ctx); len(left) > 0 {
		l.t.Errorf("left: %v", left)
	}
}

// borrow takes the cluster as a run does.
func (l *lending) borrow(ctx context.Context) (*docker.Cluster, error) {
	api := dockertest.Connect(l.t) // the cluster closes it
	return l.cluster.Attach(ctx, compose.Attaching{File: l.file, Options: docker.Options{
		API: api, Proxy: "not needed", Engine: pglogical.New(), Log: clustertest.Logger(l.t), Clock: time.Now, WatchdogCommand: dockertest.WatchdogCommand(l.t),
	}})
}

// attach is borrow where that should fail.
func (l *lending) attach(ctx context.Context) error {
	c, err := l.borrow(ctx)
	if err == nil {
		l.t.Error("the cluster was lent")
		err = errors.Join(c.Close(ctx), errors.New("lent"))
	}
	if strings.Contains(err.Error(), "\n") {
		l.t.Errorf("more than a line: %v", err)
	}
	return err
}

// helpers are what runs have made, of this cluster.
func (l *lending) helpers(ctx context.Context) (all []string) {
	l.t.Helper()
	found, err := docker.Leftovers(ctx, l.api)
	if err != nil {
		l.t.Fatal(err)
	}
	for _, one := range found {
		if one.Owner.PID == os.Getpid() {
			all = append(all, one.Parts...)
		}
	}
	return all
}

// shapes are the cluster's containers as compose sees them.
func (l *lending) shapes(ctx context.Context) map[string]string {
	l.t.Helper()
	list, err := l.api.Containers(ctx, compose.LabelCluster+"="+l.cluster.Label)
	if err != nil {
		l.t.Fatal(err)
	}
	all := map[string]string{}
	for _, b := range list {
		c, err := l.api.Container(ctx, b.ID)
		if err != nil {
			l.t.Fatal(err)
		}
		labels, err := json.Marshal(c.Labels) // in the order of their names
		if err != nil {
			l.t.Fatal(err)
		}
		all[c.Name] = fmt.Sprintln(c.Image, string(labels), c.Running, c.Paused, c.Addrs, c.Volumes, c.Published, c.Restarts)
	}
	return all
}

func (l *lending) exec(ctx context.Context, node, sql string) {
	l.t.Helper()
	if err := l.try(ctx, node, sql); err != nil {
		l.t.Fatalf("%s: %v", sql, err)
	}
}

func (l *lending) try(ctx context.Context, node, sql string) error {
	c, err := pgx.Connect(ctx, l.cluster.Node(node).DSN())
	if err != nil {
		return err
	}
	defer func() { _ = c.Close(ctx) }()
	_, err = c.Exec(ctx, sql)
	return err
}

// refuses: somebody's tables keep a run away, and so does another run.
func (l *lending) refuses(ctx context.Context) {
	l.exec(ctx, "n2", `CREATE TABLE orders (id int)`) // in the user's own schema, which is spockchaos as well
	if err := l.attach(ctx); !strings.Contains(err.Error(), "tables that are not ours (n2: chaos.spockchaos.orders)") {
		l.t.Errorf("with a table of somebody else's: %v", err)
	}
	l.exec(ctx, "n2", `DROP TABLE orders`)
	if left := l.helpers(ctx); len(left) > 0 {
		l.t.Errorf("a refusal has left %v", left)
	}
}

// breaks what the cluster is made of, and gives it back.
func (l *lending) breaks(ctx context.Context) {
	c, err := l.borrow(ctx)
	if err != nil {
		l.t.Fatal(err)
	}
	if err := l.attach(ctx); !errors.Is(err, docker.ErrBorrowed) {
		l.t.Errorf("while it is lent: %v", err)
	}
	l.exec(ctx, "n1", `CREATE TABLE kept AS SELECT 1 AS v`)
	check := func(doing string, err error) {
		l.t.Helper()
		if err != nil {
			l.t.Fatalf("%s: %v", doing, err)
		}
	}
	check("saving", c.Save(ctx))
	check("restoring", c.Restore(ctx))
	l.exec(ctx, "n1", `DROP TABLE kept`)
	check("losing", c.Node("n1").Lose(ctx))
	if err := c.Node("n1").Start(ctx); !errors.Is(err, docker.ErrLost) {
		l.t.Errorf("starting a lost node: %v", err)
	}
	check("pausing", c.Node("n2").Pause(ctx))
	check("disconnecting", c.Node("n3").(topology.Disconnector).Disconnect(ctx))
	check("stalling", c.Link(topology.Client, "n3").Update(ctx, link.Downstream, func(g link.Gate) link.Gate {
		g.Stall = true
		return g
	}))
	check("giving back", c.GiveBack(ctx, func(ctx context.Context) error { return l.try(ctx, "n1", `DROP TABLE kept`) })) // the saved data are back
}

// runs a short run, which must pass and leave nothing.
func (l *lending) runs(ctx context.Context) {
	dir := filepath.Join(l.t.TempDir(), "run")
	err := chaos.Run(ctx, chaos.Config{
		Duration: time.Second, Seed: 5, Nodes: len(l.cluster.Nodes), Engine: "pglogical", Topology: "compose", ComposeFile: l.file,
		Workloads: []string{"ledger", "register", "counter"}, Rate: 60, Sessions: len(l.cluster.Nodes), Faults: []string{"kill", "partition"}, Chaos: 6 * time.Second,
		Rounds: "fresh", Dir: dir, ManagerPeriod: time.Second,
	}, chaos.Deps{
		Log: zap.New(clustertest.Logger(l.t).Core()), Clock: time.Now, Version: "test",
		WatchdogCommand: dockertest.WatchdogCommand(l.t), Executable: imagetest.Program(l.t),
	})
	if err != nil {
		l.t.Fatal(err)
	}
	result, err := checker.Check(ctx, dir)
	if err != nil {
		l.t.Fatal(err)
	}
	if result.Verdict != checker.Pass {
		l.t.Errorf("verdict %s: %v, %v", result.Verdict, result.Reasons, result.Rounds)
	}
	for _, n := range l.cluster.Nodes {
		if err := l.try(ctx, n.Name, `SELECT FROM chaos.ledger`); err == nil {
			l.t.Errorf("%s still has the run's tables", n.Name)
		}
	}
	if files, err := os.ReadDir(dir); err != nil || slices.ContainsFunc(files, func(f os.DirEntry) bool { return f.Name() == "cluster.json" }) {
		l.t.Errorf("in the run's directory: %v, %v", files, err)
	}
}
