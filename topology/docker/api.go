package docker

import (
	"context"
	"errors"
	"io"
	"time"
)

// ErrNotFound is in the error of a call about something that the engine does not have.
var ErrNotFound = errors.New("not found")

// ErrInUse is in the error of a call that the engine refused because something is taken: a name, an
// address, a port, a volume that a container holds.
var ErrInUse = errors.New("in use")

// API is the little that we need of a container engine. Containers, networks and volumes are named by their id or name.
// Removing what is not there is no error. Implementations are safe for concurrent use.
type API interface {
	// Address is where the engine is, "unix:///var/run/docker.sock".
	Address() string

	// Image looks a reference up on the engine's machine; it asks no registry.
	Image(ctx context.Context, ref string) (Image, error)
	PullImage(ctx context.Context, ref string) error
	// ImportImage makes an image out of a tar stream of its root directory and Dockerfile instructions (CMD, ENV, LABEL …).
	ImportImage(ctx context.Context, ref string, root io.Reader, instructions ...string) error

	CreateContainer(ctx context.Context, spec ContainerSpec) (id string, err error)
	// Shape is how a container was made, whoever made it; Recreate makes one like it, of the same name, in the same networks and with
	// the same volumes, which must be there. It is not started.
	Shape(ctx context.Context, id string) (Shape, error)
	Recreate(ctx context.Context, shape Shape) error
	StartContainer(ctx context.Context, id string) error
	// Signal process 1, as in "SIGINT". A container that does not run is an error.
	Signal(ctx context.Context, id, signal string) error
	// Wait returns the exit status of process 1 when the container does not run (any more).
	Wait(ctx context.Context, id string) (status int, err error)
	Pause(ctx context.Context, id string) error
	Unpause(ctx context.Context, id string) error
	// RemoveContainer kills what runs in it first; anonymous volumes go with it.
	RemoveContainer(ctx context.Context, id string) error
	Container(ctx context.Context, id string) (Container, error)
	// Containers that have the label, running or not.
	Containers(ctx context.Context, label string) ([]Container, error)
	// Processes are the ids of a container's processes as its machine sees them.
	Processes(ctx context.Context, id string) ([]int, error)
	// Log is the end of what process 1 wrote to both its streams, at most so many lines.
	Log(ctx context.Context, id string, lines int) (string, error)
	// CopyErrors writes what process 1, of this and of earlier starts, wrote to its standard error since a moment.
	CopyErrors(ctx context.Context, id string, since time.Time, to io.Writer) error
	// Exec runs a program in a running container, as a user of it ("" is the container's own), and returns when it has
	// ended. An exit status other than 0 is no error.
	Exec(ctx context.Context, id, user string, argv ...string) (Result, error)
	// SetMemory limits the memory of a running container; 0 takes the limit away.
	SetMemory(ctx context.Context, id string, bytes int64) error
	Memory(ctx context.Context, id string) (Memory, error)
	// OOMs is how often since a moment the kernel has found a container out of memory.
	OOMs(ctx context.Context, id string, since time.Time) (int, error)

	CreateNetwork(ctx context.Context, spec NetworkSpec) (id string, err error)
	RemoveNetwork(ctx context.Context, id string) error
	// Networks that have the label, all for "".
	Networks(ctx context.Context, label string) ([]Network, error)
	// Connect puts a container into a network at an address, under further names; Disconnect takes it out, at once.
	Connect(ctx context.Context, network, container, addr string, names ...string) error
	Disconnect(ctx context.Context, network, container string) error

	CreateVolume(ctx context.Context, spec VolumeSpec) error
	RemoveVolume(ctx context.Context, name string) error
	// Volumes that have the label.
	Volumes(ctx context.Context, label string) ([]Volume, error)

	// Close ends the connections to the engine.
	Close() error
}

// Image is one image on the engine's machine.
type Image struct {
	ID     string
	Labels map[string]string
	Size   int64
}

// Shape is in the engine's own words, of use to nobody else.
type Shape []byte

// ContainerSpec says what container CreateContainer makes.
type ContainerSpec struct {
	Name   string
	Image  string
	Labels map[string]string
	// Entrypoint replaces the image's; nil keeps it.
	Entrypoint []string
	Args       []string
	Env        []string
	User       string
	StopSignal string
	// Network is a network's name, "none", or "container:" and an id to share that container's; Addr is the address there, "" for any.
	Network string
	Addr    string
	// Ports are published at the same number of 127.0.0.1.
	Ports   []int
	Volumes map[string]string // a volume's name → where it is mounted
	// Capabilities that the container has beside the usual ones, as in "NET_ADMIN".
	Capabilities []string
	// Hosts are names that the container knows: name → address.
	Hosts map[string]string
	// Shm is the size of /dev/shm in bytes; 0 is the engine's default.
	Shm int64
	// AutoRemove removes the container when process 1 ends.
	AutoRemove bool
}

// Container is a container as it stands.
type Container struct {
	ID, Name  string
	Image     string // by reference, as it was made
	Labels    map[string]string
	Running   bool // also while paused
	Paused    bool
	PID       int               // of process 1 as its machine sees it; 0 when it does not run, or in a listing
	Exit      int               // status of process 1 when it does not run
	OOMKilled bool              // as the engine has it
	Addrs     map[string]string // by the name of the network
	// Not in a listing:
	Volumes   map[string]string // where it is mounted → the volume's name
	Published map[int]int       // its port → the port of 127.0.0.1, while it runs
	Restarts  bool              // the engine starts it again when it ends
}

// Result is what a program that Exec ran left behind.
type Result struct {
	Status         int
	Stdout, Stderr string
}

// Memory is what a container's control group says.
type Memory struct {
	Limit int64
	Used  int64
	// Cache is the part of Used that the kernel can drop when memory gets short.
	Cache int64
	// MajorFaults counts pages that a process wanted and that had to be read first, again if the kernel had dropped them.
	MajorFaults int64
}

// NetworkSpec says what bridge network CreateNetwork makes.
type NetworkSpec struct {
	Name    string
	Labels  map[string]string
	Subnet  string // CIDR
	Gateway string
}

// Network is a network as it stands.
type Network struct {
	ID, Name string
	Labels   map[string]string
	Subnets  []string
}

// VolumeSpec says what volume CreateVolume makes.
type VolumeSpec struct {
	Name   string
	Labels map[string]string
	// Size in bytes makes it a tmpfs of that size, which forgets everything when no container has it mounted; 0 is a directory of the engine's.
	Size int64
}

// Volume is a volume as it stands.
type Volume struct {
	Name   string
	Labels map[string]string
}
