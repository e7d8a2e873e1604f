package chaos

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"github.com/spockchaos/spockchaos/topology"
	"github.com/spockchaos/spockchaos/topology/compose"
	"github.com/spockchaos/spockchaos/topology/docker"
	"github.com/spockchaos/spockchaos/topology/docker/image"
	"github.com/spockchaos/spockchaos/topology/engine"
	"github.com/spockchaos/spockchaos/topology/mesh"
	"github.com/spockchaos/spockchaos/workload"
)

// giveBackLimit bounds the way of a borrowed cluster back to its user.
const giveBackLimit = 3 * time.Minute

// lender is a cluster that its user brought up.
type lender interface {
	GiveBack(ctx context.Context, tidy func(context.Context) error) error
}

// borrowCompose takes the cluster that compose brought up from cfg.ComposeFile, makes it a mesh and removes what an earlier run, which was
// killed, has left in it. Whatever it refuses is the user's to mend, and nothing was changed then.
func borrowCompose(ctx context.Context, cfg Config, deps Deps, candidates []engine.Engine) (topology.Cluster, engine.Engine, error) {
	file, err := compose.Load(ctx, cfg.ComposeFile, deps.Environ)
	if err != nil {
		return nil, nil, &UsageError{err}
	}
	i := slices.IndexFunc(candidates, func(e engine.Engine) bool { return e.Name() == file.Engine })
	if len(file.Nodes) != cfg.Nodes || i < 0 {
		return nil, nil, &UsageError{fmt.Errorf("%s has %d nodes with %s, not %d with %s", cfg.ComposeFile, len(file.Nodes), file.Engine, cfg.Nodes, cfg.Engine)}
	}
	eng := candidates[i]
	api, err := docker.Connect(ctx)
	if err != nil {
		return nil, nil, &UsageError{err}
	}
	proxy, err := image.EnsureSelf(ctx, api, deps.Executable)
	if err != nil {
		return nil, nil, errors.Join(&UsageError{err}, api.Close())
	}
	keyed, insertOnly := workload.Tables()
	cluster, err := file.Attach(ctx, compose.Attaching{
		File: cfg.ComposeFile, Project: compose.Project(deps.Environ), AllowTables: cfg.AllowUserTables, Tables: append(keyed, insertOnly...),
		Options: docker.Options{API: api, Dir: cfg.Dir, Proxy: proxy, Engine: eng, Seed: cfg.Seed, Log: deps.Log, Clock: deps.Clock,
			WatchdogCommand: deps.WatchdogCommand},
		Waiting: func() { deps.Log.Warn("waiting for the servers of " + cfg.ComposeFile) },
	})
	if err != nil {
		return nil, nil, &UsageError{err}
	}
	if err := tidy(ctx, cluster, eng, deps.Log); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("bring the cluster up: %w", err), cluster.GiveBack(ctx, nil))
	}
	return cluster, eng, nil
}

// tidy makes a cluster a mesh, with our own procedures, and then removes the workload's tables: what was on its way to one of
// them has arrived by then.
func tidy(ctx context.Context, cluster topology.Cluster, eng engine.Engine, log *zap.Logger) error {
	err := mesh.Setup(ctx, mesh.Cluster{Engine: eng, Members: topology.Members(cluster)}, func(s mesh.Step) {
		if len(s.Notes) > 0 {
			log.Warn(s.Name, zap.String("but", strings.Join(s.Notes, "; ")))
		}
	})
	if err != nil {
		return err
	}
	return eachNode(ctx, cluster, func(ctx context.Context, c *pgx.Conn) error { return workload.Remove(ctx, c) })
}

// giveBack leaves a borrowed cluster up, wired and without what the run made.
func (h *harness) giveBack(of lender) error {
	ctx, cancel := context.WithTimeout(context.Background(), giveBackLimit)
	defer cancel()
	return of.GiveBack(ctx, func(ctx context.Context) error { return tidy(ctx, h.cluster, h.engine, h.deps.Log) })
}
