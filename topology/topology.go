package topology

import (
	"context"
	"time"
)

// StopMode is how a node is stopped.
type StopMode int

const (
	// StopFast is a clean shutdown (SIGINT): sessions are ended, a checkpoint is written.
	StopFast StopMode = iota
	// StopImmediate (SIGQUIT) leaves no checkpoint; the next start recovers.
	StopImmediate
	// StopKill sends SIGKILL to the postmaster and all its children.
	StopKill
)

// Client is the name of the workload's end of a link.
const Client = "client"

// Node is one PostgreSQL server. Methods are safe for concurrent use; each returns
// when its effect is there, or with an error that names the node.
type Node interface {
	Name() string // "n1"
	// DSN goes straight to the server, past every link: for the watcher, the
	// checker's snapshots and set-up, never for the workload or for peers.
	DSN() string
	// Start returns when the server answers a query.
	Start(ctx context.Context) error
	// Stop returns when no process of the node is left.
	Stop(ctx context.Context, mode StopMode) error
	// Pause stops every process of the node with SIGSTOP (or freezes its container); Resume continues them.
	Pause(ctx context.Context) error
	Resume(ctx context.Context) error
	// Lose kills the node and removes its data for good. Start fails afterwards.
	Lose(ctx context.Context) error
	// Processes are the node's process ids, postmaster first; empty when it is down.
	Processes() ([]int, error)
	// Paused says whether every process of the node is stopped, as the system tells it.
	Paused() (bool, error)
	// Means names how a fault reaches this node ("SIGKILL", "docker kill"), for the report.
	Means() string
	// Log returns the end of the server log, at most n bytes.
	Log(n int) (string, error)
}

// Cluster is a set of nodes with links between them and from the client.
type Cluster interface {
	Nodes() []Node
	Node(name string) Node // nil if there is none
	// Link is the directed link by which from reaches the server of to: from is Client,
	// or the subscriber whose provider is to. nil if there is none.
	Link(from, to string) Link
	Links() []Link
	// LinkDSN is the conninfo by which from reaches to through their link.
	LinkDSN(from, to string) string
	// Save stops the nodes (clean) and keeps their data as the state that Restore returns to.
	Save(ctx context.Context) error
	// Restore discards what the nodes hold (lost nodes come back), heals every link, puts
	// the saved data in place and starts all nodes.
	Restore(ctx context.Context) error
	// Close ends every process and link and removes the data; a cluster that was only borrowed is given back. It may be called more than once.
	Close(ctx context.Context) error
	// Version is the server's version, "15.18".
	Version() string
}

// StopTimeout is how long a clean stop may take before it is an error.
const StopTimeout = 60 * time.Second
