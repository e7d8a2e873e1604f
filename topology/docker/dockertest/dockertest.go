// Package dockertest gives tests a cluster in containers, wired unless they want less.
//
// Where no container engine answers, or the images cannot be had, such a test is skipped;
// SPOCKCHAOS_TEST_DOCKER=required makes that a failure.
//
// A test that is killed leaves no container behind: each cluster has a watchdog, which is the test's own program
// started once more. Every program that imports this package is a watchdog when it is told to be.
package dockertest

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/spockchaos/spockchaos/topology/clustertest"
	"github.com/spockchaos/spockchaos/topology/docker"
	"github.com/spockchaos/spockchaos/topology/docker/image"
	"github.com/spockchaos/spockchaos/topology/docker/image/imagetest"
	"github.com/spockchaos/spockchaos/topology/engine/pglogical"
	"github.com/spockchaos/spockchaos/topology/watchdog"
)

// watchdogEnv makes the program a watchdog.
const watchdogEnv = "SPOCKCHAOS_TEST_DOCKER_WATCHDOG"

func init() {
	if os.Getenv(watchdogEnv) != "" {
		os.Exit(watchdog.Main(os.Stdin, watchdog.Ends{docker.WatchdogEnd: docker.Destroy, docker.LentEnd: docker.Release}))
	}
}

// WatchdogCommand starts the watchdog of a test's cluster.
func WatchdogCommand(t testing.TB) []string {
	t.Helper()
	return clustertest.WatchdogCommand(t, watchdogEnv)
}

// required says that a test must not be skipped.
func required() bool { return os.Getenv("SPOCKCHAOS_TEST_DOCKER") == "required" }

// Connect finds the container engine; without one the test ends here.
func Connect(t testing.TB) docker.API {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	api, err := docker.Connect(ctx)
	if err != nil {
		missing(t, err)
	}
	return api
}

// missing ends a test that cannot be made here.
func missing(t testing.TB, why error) {
	t.Helper()
	if required() {
		t.Fatal(why)
	}
	t.Skipf("not tested in containers: %v", why)
}

// Node is the image of a node with PostgreSQL of a major version; without one the test ends here.
func Node(t testing.TB, api docker.API, major string) docker.Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	eng := pglogical.New()
	ref, err := image.ForEngine(ctx, api, eng.Name(), major)
	if err != nil {
		missing(t, err)
	}
	node, err := docker.Examine(ctx, api, ref, eng)
	if err != nil {
		t.Fatal(err)
	}
	return node
}

// Option changes what Start makes.
type Option func(*config)

type config struct {
	opts  docker.Options
	wired bool
}

// With changes the cluster's options.
func With(f func(*docker.Options)) Option { return func(c *config) { f(&c.opts) } }

// Unwired leaves the nodes without nodes and subscriptions.
func Unwired() Option { return func(c *config) { c.wired = false } }

// Start makes a cluster of n nodes with PostgreSQL of a major version, unless an option names an image, wired and ready, that is closed with the test. When
// the test failed, the end of each node's log is in the test's log.
func Start(t testing.TB, n int, major string, opts ...Option) *docker.Cluster {
	t.Helper()
	api := Connect(t)
	cfg := config{wired: true, opts: docker.Options{API: api, Nodes: n, Engine: pglogical.New(), Seed: 1, WatchdogCommand: WatchdogCommand(t)}}
	for _, o := range opts {
		o(&cfg)
	}
	if cfg.opts.Server.Ref == "" {
		cfg.opts.Server = Node(t, api, major)
	}
	if cfg.opts.Proxy == "" {
		cfg.opts.Proxy = imagetest.Self(t, api)
	}
	if cfg.opts.Log == nil {
		cfg.opts.Log = clustertest.Logger(t)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	began := time.Now()
	c, err := docker.New(ctx, cfg.opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d nodes are up after %v", n, time.Since(began).Round(time.Millisecond))
	clustertest.Close(t, c)
	if cfg.wired {
		clustertest.Wire(ctx, t, c)
		t.Logf("wired and ready after %v", time.Since(began).Round(time.Millisecond))
	}
	return c
}
