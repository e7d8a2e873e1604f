package chaos

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/sql"
	"github.com/spockchaos/spockchaos/topology/engine"
	"github.com/spockchaos/spockchaos/topology/engine/pglogical"
	"github.com/spockchaos/spockchaos/topology/local"
	"github.com/spockchaos/spockchaos/workload"
)

// pickEngine is the engine of a name.
func pickEngine(name string) (engine.Engine, error) {
	switch name {
	case "pglogical":
		return pglogical.New(), nil
	}
	return nil, fmt.Errorf("engine %q is not known: pglogical is", name)
}

// setUp brings the cluster up, wires it, installs sql/ and saves it as the state that
// every round starts from.
func (h *harness) setUp(ctx context.Context, extra []byte) error {
	ctx, cancel := context.WithTimeout(ctx, setupLimit)
	defer cancel()
	var err error
	if h.engine, err = pickEngine(h.cfg.Engine); err != nil {
		return &UsageError{err}
	}
	engineVersion, err := h.bringUp(ctx)
	if err != nil {
		return err
	}
	h.description = workload.Describe(h.cfg.Seed, nodeNames(h.cfg.Nodes), h.workloadConfig())
	if err := h.wire(ctx, extra); err != nil {
		return err
	}
	if err := h.cluster.Save(ctx); err != nil {
		return fmt.Errorf("save the wired cluster: %w", err)
	}
	h.record = rundir.Run{
		SchemaVersion: rundir.SchemaVersion, Seed: h.cfg.Seed, Config: h.cfg.Effective,
		Versions: rundir.Versions{Postgres: h.cluster.Version(), Engine: h.engine.Name() + " " + engineVersion, SpockChaos: h.deps.Version},
		Nodes:    nodeNames(h.cfg.Nodes), Workload: h.description, StartedAt: h.started,
		ReplayOf: h.cfg.Replay, RecoverySQL: h.cfg.RecoverySQL,
	}
	h.deps.Log.Info("cluster is wired", zap.Int("nodes", h.cfg.Nodes), zap.String("postgres", h.cluster.Version()),
		zap.String("engine", h.record.Versions.Engine), zap.Duration("took", h.deps.Clock().Sub(h.started)))
	return h.saveRun()
}

// bringUp makes the nodes and links, and says which version of the engine they have.
func (h *harness) bringUp(ctx context.Context) (engineVersion string, err error) {
	if h.cfg.Topology != "local" {
		return "", &UsageError{fmt.Errorf("topology %q is not known: local is", h.cfg.Topology)}
	}
	binDir, _, _, err := local.FindPostgres(ctx, h.cfg.PGBin, h.cfg.PGVer, h.engine)
	if err != nil {
		return "", &UsageError{err}
	}
	// A nil *local.Cluster must not become a non-nil interface.
	cluster, err := local.New(ctx, local.Options{
		Dir: h.cfg.Dir, Nodes: h.cfg.Nodes, BinDir: binDir, Engine: h.engine, Seed: h.cfg.Seed,
		Log: h.deps.Log, Clock: h.deps.Clock, WatchdogCommand: h.deps.WatchdogCommand,
	})
	if err != nil {
		return "", fmt.Errorf("bring the cluster up: %w", err)
	}
	h.cluster = cluster
	return h.readEngineVersion(ctx)
}

// readEngineVersion asks the first node, whose servers all come from one installation.
func (h *harness) readEngineVersion(ctx context.Context) (version string, err error) {
	first := h.cluster.Nodes()[0].Name()
	err = onNode(ctx, h.cluster, first, func(c *pgx.Conn) error {
		return c.QueryRow(ctx, "SELECT default_version FROM pg_available_extensions WHERE name = $1", h.engine.Name()).Scan(&version)
	})
	if err != nil {
		return "", fmt.Errorf("read the version of %s on %s: %w", h.engine.Name(), first, err)
	}
	return version, nil
}

func (h *harness) workloadConfig() workload.Config {
	return workload.Config{Workloads: h.cfg.Workloads, Sessions: h.cfg.Sessions, Rate: h.cfg.Rate}
}

// wire makes the mesh and puts everything on it that a round needs.
func (h *harness) wire(ctx context.Context, extra []byte) error {
	members := h.members()
	err := h.eachNode(ctx, func(ctx context.Context, c *pgx.Conn) error { return workload.Setup(ctx, c, h.description) })
	if err != nil {
		return fmt.Errorf("make the workload's tables: %w", err)
	}
	if err := h.engine.Wire(ctx, members); err != nil {
		return fmt.Errorf("wire the mesh: %w", err)
	}
	keyed, insertOnly := workload.Tables()
	err = h.eachNode(ctx, func(ctx context.Context, c *pgx.Conn) error {
		if err := h.engine.AddTables(ctx, c, keyed, insertOnly); err != nil {
			return fmt.Errorf("replicate the workload's tables: %w", err)
		}
		if err := sql.Install(ctx, c, h.engine.Name(), nil); err != nil {
			return fmt.Errorf("install recovery slot tracking: %w", err)
		}
		if err := loadRecoverySQL(ctx, c, h.cfg.RecoverySQL, extra); err != nil {
			return err
		}
		if _, err := c.Exec(ctx, "SELECT spock.create_recovery_slot()"); err != nil {
			return fmt.Errorf("create the recovery slot: %w", err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := engine.Probe(ctx, members); err != nil {
		return fmt.Errorf("probe the mesh: %w", err)
	}
	return nil
}

// members are the nodes as the engine sees them.
func (h *harness) members() []engine.Member {
	var all []engine.Member
	for _, n := range h.cluster.Nodes() {
		m := engine.Member{Name: n.Name(), DSN: n.DSN(), PeerDSN: map[string]string{}}
		for _, peer := range h.cluster.Nodes() {
			if peer.Name() != n.Name() {
				m.PeerDSN[peer.Name()] = h.cluster.LinkDSN(peer.Name(), n.Name())
			}
		}
		all = append(all, m)
	}
	return all
}

// eachNode runs f on every node at once, each on a direct connection.
func (h *harness) eachNode(ctx context.Context, f func(context.Context, *pgx.Conn) error) error {
	g, gctx := errgroup.WithContext(ctx)
	for _, n := range h.cluster.Nodes() {
		g.Go(func() error {
			err := onNode(gctx, h.cluster, n.Name(), func(c *pgx.Conn) error { return f(gctx, c) })
			if err != nil {
				return fmt.Errorf("%s: %w", n.Name(), err)
			}
			return nil
		})
	}
	return g.Wait()
}
