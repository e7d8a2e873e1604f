package local

import (
	"errors"
	"fmt"
	"os"
	"time"

	"go.uber.org/zap"

	"github.com/spockchaos/spockchaos/topology/engine"
	"github.com/spockchaos/spockchaos/topology/server"
)

// Database is the database of every node, Superuser its owner.
const (
	Database  = server.Database
	Superuser = server.Superuser
)

// MaxNodes is the size of the largest cluster. One node alone is a cluster too: a run needs more of
// them, but that is not for this package to say.
const MaxNodes = 9

// Options say what cluster New makes.
type Options struct {
	// Dir is where cluster.json goes while the cluster is up; "" for nowhere. It is made for it if it is not there,
	// and goes with it if nothing else is in it then.
	Dir string
	// Nodes is how many there are: n1 to nN.
	Nodes int
	// BinDir holds postgres and initdb; FindPostgres finds one.
	BinDir string
	// Engine names the settings that the servers need, and wires the mesh in Cluster.Wire.
	Engine engine.Engine
	// Seed decides the links' jitter.
	Seed uint64
	Log  *zap.Logger
	// Clock is time.Now where it is nil.
	Clock func() time.Time
	// DataParent is where the cluster's directory is made; "" is os.TempDir.
	DataParent string
	// WatchdogCommand starts WatchdogMain in a process of its own: argv. Without it nothing
	// ends the servers when this program is killed.
	WatchdogCommand []string
	// ClockSkew has every server preload a library by which its clock can be skewed (topology.ClockSkewer). It takes a C compiler:
	// clock.ErrNoCompiler.
	ClockSkew bool
	// Settings are added to every node's postgresql.conf, after the engine's. For tests.
	Settings map[string]string
}

func (o *Options) check() error {
	if o.Nodes < 1 || o.Nodes > MaxNodes {
		return fmt.Errorf("a local cluster has 1 to %d nodes, not %d", MaxNodes, o.Nodes)
	}
	if o.BinDir == "" {
		return errors.New("a local cluster needs the directory of PostgreSQL's programs")
	}
	if o.Engine == nil {
		return errors.New("a local cluster needs an engine")
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.DataParent == "" {
		o.DataParent = os.TempDir()
	}
	return nil
}
