package docker

import (
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/spockchaos/spockchaos/topology/engine"
)

// MaxNodes is the size of the largest cluster.
const MaxNodes = 9

// MinVolumeSize is the least size of a node's volume: an empty server, its WAL and some room.
const MinVolumeSize = 256 << 20

// Options say what cluster New makes.
type Options struct {
	// API is the engine that the containers live in. The cluster closes it.
	API API
	// Dir is where cluster.json goes while the cluster is up; "" for nowhere.
	Dir string
	// Nodes is how many there are: n1 to nN.
	Nodes int
	// Server is the image of the nodes; Examine makes it of a reference.
	Server Server
	// Proxy is the image of this program, by reference: /spockchaos is its entrypoint.
	Proxy string
	// VolumeSize is the size of each node's volume, which is a tmpfs then; 0 is as much as the engine's disk has.
	VolumeSize int64
	// Engine names the settings that the servers need, and wires the mesh in Cluster.Wire.
	Engine engine.Engine
	// Seed decides the links' jitter and where each node's WAL begins.
	Seed uint64
	Log  *zap.Logger
	// Clock is time.Now where it is nil.
	Clock func() time.Time
	// WatchdogCommand starts a watchdog in a process of its own: argv. Without it nothing removes
	// the containers when this program is killed, until somebody runs clean.
	WatchdogCommand []string
	// Settings are added to every node's, after the engine's. For tests.
	Settings map[string]string
}

func (o *Options) check() error {
	switch {
	case o.Nodes < 1 || o.Nodes > MaxNodes:
		return fmt.Errorf("a cluster in containers has 1 to %d nodes, not %d", MaxNodes, o.Nodes)
	case o.API == nil || o.Engine == nil || o.Server.Ref == "" || o.Proxy == "":
		return errors.New("a cluster in containers needs a container engine, a replication engine, an image of the server and one of this program")
	case o.VolumeSize != 0 && o.VolumeSize < MinVolumeSize:
		return fmt.Errorf("a node's volume has at least %d MB, not %d bytes", MinVolumeSize>>20, o.VolumeSize)
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	return nil
}
