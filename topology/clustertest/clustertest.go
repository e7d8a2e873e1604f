// Package clustertest is what localtest and dockertest, which give tests a cluster of their kind, have in common.
//
// It imports topology; those two import it.
package clustertest

import (
	"context"
	"os"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest"

	"github.com/spockchaos/spockchaos/topology"
)

// WatchdogCommand starts the test's own program as a watchdog, which it is told to be by a variable.
func WatchdogCommand(t testing.TB, variable string) []string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// env sets the variable for the child alone.
	return []string{"/usr/bin/env", variable + "=1", self}
}

// Logger has warnings and worse in the test's log.
func Logger(t testing.TB) *zap.Logger {
	return zaptest.NewLogger(t, zaptest.Level(zapcore.WarnLevel))
}

// Close closes a cluster with the test. When the test failed, the end of each node's log is in the test's log.
func Close(t testing.TB, c topology.Cluster) {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			for _, n := range c.Nodes() {
				s, _ := n.Log(3000)
				t.Logf("the log of %s ends:\n%s", n.Name(), s)
			}
		}
		if err := c.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

// mesh is a cluster that wires itself.
type mesh interface {
	Wire(ctx context.Context) error
	Ready(ctx context.Context) error
}

// Wire makes a mesh of a cluster and waits until it is ready.
func Wire(ctx context.Context, t testing.TB, c mesh) {
	t.Helper()
	if err := c.Wire(ctx); err != nil {
		t.Fatal(err)
	}
	if err := c.Ready(ctx); err != nil {
		t.Fatal(err)
	}
}
