package topology

import (
	"context"
	"io"
	"time"
)

// The interfaces of this file are what only some kinds of nodes can do, or can have done to them. A fault asks for its interface by a type
// assertion; where a node lacks it, the fault is not drawn. Each method returns when its effect is there, an error names
// the node, and undoing what was not done is no error. Stop and Lose end DropPackets, Restore ends all of them.

// Disconnector is a node that can be taken out of every network: neither peers nor the harness reach it, and its
// processes go on.
type Disconnector interface {
	Disconnect(ctx context.Context) error
	// Reconnect puts the node back, at the same addresses.
	Reconnect(ctx context.Context) error
	// Disconnected says, as the container engine tells it, whether the node is in no network.
	Disconnected(ctx context.Context) (bool, error)
}

// PacketDropper is a node whose own network stack can drop every packet between it and its links, both ways. Nobody answers for
// it, so this is a partition that TCP notices by itself. DSN still leads to the node: whoever watches it goes on.
type PacketDropper interface {
	DropPackets(ctx context.Context) error
	// PassPackets ends it.
	PassPackets(ctx context.Context) error
	// DroppedPackets is what the rule that drops has counted since DropPackets. It is an error while nothing is dropped.
	DroppedPackets(ctx context.Context) (in, out int64, err error)
}

// MemoryLimiter is a node whose memory can be limited to little more than it needs at that moment. A process that
// asks for more gets it when the kernel finds some to free, and else one of the node's is killed: usually a backend, on which the
// server restarts all of them; possibly the server itself, which is then down until Start.
type MemoryLimiter interface {
	LimitMemory(ctx context.Context) (bytes int64, err error)
	FreeMemory(ctx context.Context) error
	MemoryPressure(ctx context.Context) (Pressure, error)
}

// Pressure is what a limit of memory has done since LimitMemory.
type Pressure struct {
	// MajorFaults counts, as the kernel's control group does, how often a page had to be read from a file before a process
	// could go on: what the kernel drops to stay below the limit must be read again. A server at rest without a limit has none.
	MajorFaults int64
	// OOMs counts how often the container engine reported that the kernel found nothing to drop and killed a process.
	OOMs int
}

// DiskFiller is a node whose volume has a fixed size and can be filled up.
type DiskFiller interface {
	// FillDisk leaves no free byte.
	FillDisk(ctx context.Context) error
	// FreeDisk gives back what FillDisk took.
	FreeDisk(ctx context.Context) error
	// DiskSpace is what the file system says of the volume: bytes.
	DiskSpace(ctx context.Context) (size, free int64, err error)
}

// LogCopier is a node whose server log can be read from a place on, whole, also while the server writes it.
type LogCopier interface {
	// LogEnd is the place up to which the log is written now.
	LogEnd(ctx context.Context) (LogPlace, error)
	// CopyLog writes the log from a place on. What a node that was lost had logged is gone.
	CopyLog(ctx context.Context, from LogPlace, to io.Writer) error
}

// LogPlace is a place in a server log, in the node's own words.
type LogPlace string

// ClockSkewer is a node whose clock of the day can differ from the machine's.
type ClockSkewer interface {
	// SkewClock makes it go ahead by offset, or behind where that is negative; 0 ends it. Every process of the node sees the jump at
	// once, and so do those that start later, also after a kill. Monotonic clocks, timers and sleeps stay as they are.
	SkewClock(ctx context.Context, offset time.Duration) error
}
