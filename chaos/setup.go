package chaos

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/topology"
	"github.com/spockchaos/spockchaos/topology/docker"
	"github.com/spockchaos/spockchaos/topology/docker/image"
	"github.com/spockchaos/spockchaos/topology/engine"
	"github.com/spockchaos/spockchaos/topology/engine/engines"
	"github.com/spockchaos/spockchaos/topology/local"
	"github.com/spockchaos/spockchaos/workload"
)

// setUp brings the cluster up, wires it, gives it slot tracking and saves it as the state that
// every round starts from.
func (h *harness) setUp(ctx context.Context, extra RecoverySQL) error {
	ctx, cancel := context.WithTimeout(ctx, setupLimit)
	defer cancel()
	var err error
	if h.cluster, h.engine, err = BringUp(ctx, h.cfg, h.deps); err != nil {
		return err
	}
	if h.deps.Begun != nil {
		if err := h.deps.Begun(); err != nil {
			return err
		}
	}
	if h.cfg.Effective != nil {
		h.cfg.Effective["engine"] = h.engine.Name() // the one that was found
	}
	engineVersion, err := EngineVersion(ctx, h.cluster, h.engine)
	if err != nil {
		return err
	}
	deciding, err := engineSettings(ctx, h.cluster, h.engine)
	if err != nil {
		return err
	}
	h.description = workload.Describe(h.cfg.Seed, nodeNames(h.cfg.Nodes), h.workloadConfig())
	keyed, insertOnly := workload.Tables()
	var deltas map[string][]string
	if h.workloadConfig().SharedCounters {
		deltas = workload.DeltaColumns()
	}
	err = Wire(ctx, h.cluster, h.engine, Wiring{
		Tables:      func(ctx context.Context, c *pgx.Conn) error { return workload.Setup(ctx, c, h.description) },
		Keyed:       keyed,
		InsertOnly:  insertOnly,
		Deltas:      deltas,
		RecoverySQL: extra,
		Tracking:    h.cfg.Tracking,
	})
	if err != nil {
		return err
	}
	if err := h.cluster.Save(ctx); err != nil {
		return fmt.Errorf("save the wired cluster: %w", err)
	}
	h.record = rundir.Run{
		SchemaVersion: rundir.SchemaVersion, Seed: h.cfg.Seed, Config: h.cfg.Effective,
		Versions: rundir.Versions{Postgres: h.cluster.Version(), Engine: h.engine.Name() + " " + engineVersion, SpockChaos: h.deps.Version},
		Nodes:    nodeNames(h.cfg.Nodes), Workload: h.description, StartedAt: h.started,
		ReplayOf: h.cfg.Replay, RecoverySQL: h.cfg.RecoverySQL, EngineSettings: deciding,
	}
	h.deps.Log.Info("cluster is wired", zap.Int("nodes", h.cfg.Nodes), zap.String("postgres", h.cluster.Version()),
		zap.String("engine", h.record.Versions.Engine), zap.Duration("took", h.deps.Clock().Sub(h.started)))
	return h.saveRun()
}

// BringUp makes the nodes and links that cfg names (its Topology, Nodes, Engine, Seed, Dir and, by topology, PGBin, PGVer, Image
// and VolumeSize), without anything of the engine's on them; or borrows those of ComposeFile, which are a mesh then. The caller closes
// the cluster; on an error nothing is left behind.
func BringUp(ctx context.Context, cfg Config, deps Deps) (topology.Cluster, engine.Engine, error) {
	candidates, err := engines.Candidates(cfg.Engine)
	if err == nil && cfg.Tracking == TrackingNative {
		candidates, err = recoverers(candidates)
	}
	if err != nil {
		return nil, nil, &UsageError{err}
	}
	switch cfg.Topology {
	case "local":
		return bringUpLocal(ctx, cfg, deps, candidates)
	case "docker":
		return bringUpContainers(ctx, cfg, deps, candidates)
	case "compose":
		return borrowCompose(ctx, cfg, deps, candidates)
	}
	return nil, nil, &UsageError{fmt.Errorf("topology %q is not known: local, docker and compose are", cfg.Topology)}
}

func bringUpLocal(ctx context.Context, cfg Config, deps Deps, candidates []engine.Engine) (topology.Cluster, engine.Engine, error) {
	found, err := local.FindPostgres(ctx, cfg.PGBin, cfg.PGVer, candidates...)
	if err != nil {
		return nil, nil, &UsageError{err}
	}
	cluster, err := local.New(ctx, local.Options{
		Dir: cfg.Dir, Nodes: cfg.Nodes, BinDir: found.BinDir, Engine: found.Engine, Seed: cfg.Seed,
		Log: deps.Log, Clock: deps.Clock, WatchdogCommand: deps.WatchdogCommand, ClockSkew: cfg.ClockSkew,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("bring the cluster up: %w", err)
	}
	return cluster, found.Engine, nil
}

// bringUpContainers finds the container engine and the images before it makes anything: what they lack is the user's to mend.
// With neither an engine nor an image named, the image is that of the last candidate, the one that make image builds.
func bringUpContainers(ctx context.Context, cfg Config, deps Deps, candidates []engine.Engine) (_ topology.Cluster, _ engine.Engine, err error) {
	api, err := docker.Connect(ctx)
	if err != nil {
		return nil, nil, &UsageError{err}
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, api.Close())
		}
	}()
	ref := cfg.Image
	if ref == "" {
		candidates = candidates[len(candidates)-1:]
		if ref, err = image.ForEngine(ctx, api, candidates[0].Name(), cfg.PGVer); err != nil {
			return nil, nil, &UsageError{err}
		}
	}
	server, err := docker.Examine(ctx, api, ref, candidates...)
	if err != nil {
		return nil, nil, &UsageError{err}
	}
	proxy, err := image.EnsureSelf(ctx, api, deps.Executable)
	if err != nil {
		return nil, nil, &UsageError{err}
	}
	cluster, err := docker.New(ctx, docker.Options{
		API: api, Dir: cfg.Dir, Nodes: cfg.Nodes, Server: server, Proxy: proxy, VolumeSize: cfg.VolumeSize, Engine: server.Engine, Seed: cfg.Seed,
		Log: deps.Log, Clock: deps.Clock, WatchdogCommand: deps.WatchdogCommand,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("bring the cluster up: %w", err)
	}
	return cluster, server.Engine, nil
}

// EngineVersion asks the first node, whose servers all come from one installation.
func EngineVersion(ctx context.Context, cluster topology.Cluster, eng engine.Engine) (version string, err error) {
	first := cluster.Nodes()[0].Name()
	err = onNode(ctx, cluster, first, func(c *pgx.Conn) error {
		return c.QueryRow(ctx, "SELECT default_version FROM pg_available_extensions WHERE name = $1", eng.Name()).Scan(&version)
	})
	if err != nil {
		return "", fmt.Errorf("read the version of %s on %s: %w", eng.Name(), first, err)
	}
	return version, nil
}

// engineSettings asks the first node, whose settings all have, for what decides over conflicts and failures there.
func engineSettings(ctx context.Context, cluster topology.Cluster, eng engine.Engine) (map[string]string, error) {
	d, ok := eng.(engine.Decider)
	if !ok {
		return nil, nil
	}
	first, found := cluster.Nodes()[0].Name(), map[string]string{}
	err := onNode(ctx, cluster, first, func(c *pgx.Conn) error {
		rows, err := c.Query(ctx, "SELECT name, setting FROM pg_settings WHERE name = ANY ($1)", d.Deciding())
		if err != nil {
			return err
		}
		var name, value string
		_, err = pgx.ForEachRow(rows, []any{&name, &value}, func() error { found[name] = value; return nil })
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the settings of %s on %s: %w", eng.Name(), first, err)
	}
	return found, nil
}

func (h *harness) workloadConfig() workload.Config {
	_, deltas := h.engine.(engine.DeltaApplier)
	return workload.Config{Workloads: h.cfg.Workloads, Sessions: h.cfg.Sessions, Rate: h.cfg.Rate, SharedCounters: deltas}
}

// Wiring is what Wire puts on the nodes of a cluster beside the mesh.
type Wiring struct {
	// Tables makes the tables, on every node. Keyed of them replicate every change, InsertOnly inserts and truncates.
	Tables            func(ctx context.Context, c *pgx.Conn) error
	Keyed, InsertOnly []string
	// Deltas are columns of Keyed that are applied by differences, by table: for an engine.DeltaApplier.
	Deltas      map[string][]string
	RecoverySQL RecoverySQL
	Tracking    string // TrackingSQL or TrackingNative; "" is the former
}

// Wire makes a mesh with slot tracking and rescue out of a cluster that was brought up. It returns when
// a row that was written on each node was seen on every other one.
func Wire(ctx context.Context, cluster topology.Cluster, eng engine.Engine, w Wiring) error {
	members := topology.Members(cluster)
	if err := eachNode(ctx, cluster, func(ctx context.Context, c *pgx.Conn) error { return w.begin(ctx, c, eng) }); err != nil {
		return err
	}
	if err := eachNode(ctx, cluster, w.Tables); err != nil {
		return fmt.Errorf("make the tables: %w", err)
	}
	if err := eng.Wire(ctx, members); err != nil {
		return fmt.Errorf("wire the mesh: %w", err)
	}
	err := eachNode(ctx, cluster, func(ctx context.Context, c *pgx.Conn) error {
		if err := markDeltas(ctx, c, eng, w.Deltas); err != nil {
			return err
		}
		if err := eng.AddTables(ctx, c, w.Keyed, w.InsertOnly); err != nil {
			return fmt.Errorf("replicate the tables: %w", err)
		}
		return w.track(ctx, c, eng)
	})
	if err != nil {
		return err
	}
	if err := engine.Probe(ctx, members); err != nil {
		return fmt.Errorf("probe the mesh: %w", err)
	}
	return nil
}

// markDeltas has the engine apply columns by differences.
func markDeltas(ctx context.Context, c *pgx.Conn, eng engine.Engine, deltas map[string][]string) error {
	for table, columns := range deltas {
		d, ok := eng.(engine.DeltaApplier)
		if !ok {
			return fmt.Errorf("%s applies no column of %s by differences", eng.Name(), table)
		}
		if err := d.DeltaColumns(ctx, c, table, columns); err != nil {
			return err
		}
	}
	return nil
}

// eachNode runs f on every node at once, each on a direct connection.
func eachNode(ctx context.Context, cluster topology.Cluster, f func(context.Context, *pgx.Conn) error) error {
	return topology.Each(ctx, cluster.Nodes(), func(ctx context.Context, n topology.Node) error {
		err := onNode(ctx, cluster, n.Name(), func(c *pgx.Conn) error { return f(ctx, c) })
		if err != nil {
			return fmt.Errorf("%s: %w", n.Name(), err)
		}
		return nil
	})
}
