// Package localtest gives tests a local cluster, wired unless they want less.
//
// SPOCKCHAOS_TEST_PG_BIN names the PostgreSQL programs to use; without it the
// newest installation that has an engine is taken (spock before pglogical).
//
// A test that is killed leaves no server behind: each cluster has a watchdog, which is the test's own program
// started once more. Every program that imports this package is a watchdog when it is told to be.
package localtest

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/spockchaos/spockchaos/topology/clustertest"
	"github.com/spockchaos/spockchaos/topology/engine"
	"github.com/spockchaos/spockchaos/topology/engine/engines"
	"github.com/spockchaos/spockchaos/topology/local"
)

// watchdogEnv makes the program a watchdog.
const watchdogEnv = "SPOCKCHAOS_TEST_WATCHDOG"

func init() {
	if os.Getenv(watchdogEnv) != "" {
		os.Exit(local.WatchdogMain(os.Stdin))
	}
}

// WatchdogCommand starts the watchdog of a test's cluster.
func WatchdogCommand(t testing.TB) []string {
	t.Helper()
	return clustertest.WatchdogCommand(t, watchdogEnv)
}

// Option changes what Start makes.
type Option func(*config)

type config struct {
	opts  local.Options
	wired bool
}

// With changes the cluster's options.
func With(f func(*local.Options)) Option { return func(c *config) { f(&c.opts) } }

// Unwired leaves the nodes without nodes and subscriptions.
func Unwired() Option { return func(c *config) { c.wired = false } }

// Bare leaves the nodes without anything of an engine: servers alone, with logical decoding.
func Bare() Option {
	return func(c *config) {
		c.wired = false
		if c.opts.Settings == nil {
			c.opts.Settings = map[string]string{}
		}
		c.opts.Settings["shared_preload_libraries"] = ""
	}
}

// Found is the PostgreSQL that tests use, with the engine that it has.
func Found(t testing.TB) local.Installation {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	candidates, err := engines.Candidates(engines.Auto)
	if err != nil {
		t.Fatal(err)
	}
	found, err := local.FindPostgres(ctx, os.Getenv("SPOCKCHAOS_TEST_PG_BIN"), "", candidates...)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// Engine is the engine of the PostgreSQL that tests use.
func Engine(t testing.TB) engine.Engine { return Found(t).Engine }

// BinDir is the directory of the PostgreSQL programs that tests use.
func BinDir(t testing.TB) string { return Found(t).BinDir }

// Start makes a cluster of n nodes, wired and ready, that is closed with the test. When the test
// failed, the end of each node's log is in the test's log.
func Start(t testing.TB, n int, opts ...Option) *local.Cluster {
	t.Helper()
	found := Found(t)
	cfg := config{wired: true, opts: local.Options{Nodes: n, Engine: found.Engine, Seed: 1, WatchdogCommand: WatchdogCommand(t)}}
	for _, o := range opts {
		o(&cfg)
	}
	if cfg.opts.BinDir == "" {
		cfg.opts.BinDir = found.BinDir
	}
	if cfg.opts.Log == nil {
		cfg.opts.Log = clustertest.Logger(t)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	c, err := local.New(ctx, cfg.opts)
	if err != nil {
		t.Fatal(err)
	}
	clustertest.Close(t, c)
	if cfg.wired {
		clustertest.Wire(ctx, t, c)
	}
	return c
}
