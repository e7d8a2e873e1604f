package docker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spockchaos/spockchaos/topology"
	"github.com/spockchaos/spockchaos/topology/docker/drop"
	"github.com/spockchaos/spockchaos/topology/wait"
)

var (
	_ topology.Node          = (*node)(nil)
	_ topology.Disconnector  = (*node)(nil)
	_ topology.PacketDropper = (*node)(nil)
	_ topology.MemoryLimiter = (*node)(nil)
	_ topology.DiskFiller    = sizedNode{}
)

// Disconnect takes the container out of its network; its published port goes with it.
func (n *node) Disconnect(ctx context.Context) error {
	n.op.Lock()
	defer n.op.Unlock()
	off, err := n.Disconnected(ctx)
	if err != nil || off {
		return err
	}
	ctx, cancel := steady(ctx)
	defer cancel()
	return n.wrap("disconnecting", n.api().Disconnect(ctx, n.network(), n.container()))
}

func (n *node) Reconnect(ctx context.Context) error {
	n.op.Lock()
	defer n.op.Unlock()
	return n.reconnect(ctx)
}

func (n *node) reconnect(ctx context.Context) error {
	off, err := n.Disconnected(ctx)
	if err != nil || !off {
		return err
	}
	ctx, cancel := steady(ctx)
	defer cancel()
	return n.wrap("reconnecting", n.api().Connect(ctx, n.network(), n.container(), n.subnet.node.String(), n.names()...))
}

// Disconnected is what the engine lists as the container's networks.
func (n *node) Disconnected(ctx context.Context) (bool, error) {
	state, err := n.api().Container(ctx, n.container())
	if err != nil {
		return false, n.wrap("looking at the networks of", err)
	}
	_, in := state.Addrs[n.network()]
	return !in, nil
}

// DropPackets starts a container in the node's own network that has its kernel drop packets. The links reach the node from
// one address, whoever watches it from another.
func (n *node) DropPackets(ctx context.Context) error {
	n.op.Lock()
	defer n.op.Unlock()
	err := n.dropPackets(ctx)
	if err != nil {
		err = errors.Join(err, n.removeDropper(ctx))
	}
	return n.wrap("dropping the packets of", err)
}

func (n *node) dropPackets(ctx context.Context) error {
	state, err := n.state(ctx)
	if err != nil {
		return err
	}
	if !state.Running {
		return errors.New("it is down")
	}
	making, cancel := steady(ctx)
	defer cancel()
	_, err = n.api().CreateContainer(making, ContainerSpec{
		Name: n.dropper(), Image: n.cluster.opts.Proxy, Labels: n.cluster.run.labels,
		Args:    []string{drop.Command, n.subnet.links.String()},
		Network: "container:" + state.ID, Capabilities: []string{"NET_ADMIN"},
	})
	if err != nil {
		return err
	}
	if err := n.api().StartContainer(making, n.dropper()); err != nil {
		return err
	}
	for {
		_, _, err := n.dropped(ctx)
		if err == nil {
			return nil
		}
		if state, again := n.api().Container(ctx, n.dropper()); again == nil && !state.Running {
			text, _ := n.api().Log(ctx, n.dropper(), 3)
			return fmt.Errorf("status %d: %s", state.Exit, oneLine(text))
		}
		if wait.For(ctx, 10*time.Millisecond) != nil {
			return err
		}
	}
}

// PassPackets ends the container that drops them, which takes its rules away first.
func (n *node) PassPackets(ctx context.Context) error {
	n.op.Lock()
	defer n.op.Unlock()
	return n.wrap("passing the packets of", n.passPackets(ctx))
}

func (n *node) passPackets(ctx context.Context) error {
	state, err := n.api().Container(ctx, n.dropper())
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err == nil && state.Running {
		if err = n.api().Signal(ctx, n.dropper(), "SIGTERM"); err == nil {
			var status int
			if status, err = n.api().Wait(ctx, n.dropper()); err == nil && status != 0 {
				text, _ := n.api().Log(ctx, n.dropper(), 3)
				err = fmt.Errorf("status %d: %s", status, oneLine(text))
			}
		}
	}
	return errors.Join(err, n.removeDropper(ctx))
}

// removeDropper is enough when the node's network is gone: its rules are gone with it.
func (n *node) removeDropper(ctx context.Context) error {
	ctx, cancel := steady(ctx)
	defer cancel()
	return n.api().RemoveContainer(ctx, n.dropper())
}

// DroppedPackets is what the rules have counted.
func (n *node) DroppedPackets(ctx context.Context) (in, out int64, err error) {
	in, out, err = n.dropped(ctx)
	return in, out, n.wrap("counting the dropped packets of", err)
}

func (n *node) dropped(ctx context.Context) (in, out int64, err error) {
	r, err := n.api().Exec(ctx, n.dropper(), "", program, drop.Command, drop.Count)
	switch {
	case errors.Is(err, ErrNotFound):
		return 0, 0, errors.New("none are dropped")
	case err != nil:
		return 0, 0, err
	case r.Status != 0:
		return 0, 0, fmt.Errorf("status %d: %s", r.Status, oneLine(r.Stderr))
	}
	_, err = fmt.Sscan(r.Stdout, &in, &out)
	return in, out, err
}

// limited is the limit of a node's memory and what there was before.
type limited struct {
	since  time.Time // zero: no limit
	faults int64
}

// headroom is what a node that needs some amount of memory is left beside it, the first that the kernel takes: it refuses a limit
// that it cannot get a container down to.
var headroom = [...]int64{1 << 20, 4 << 20, 8 << 20, 16 << 20, 32 << 20}

// LimitMemory leaves the node what it has and cannot do without, and a little.
func (n *node) LimitMemory(ctx context.Context) (int64, error) {
	n.op.Lock()
	defer n.op.Unlock()
	bytes, err := n.limitMemory(ctx)
	return bytes, n.wrap("limiting the memory of", err)
}

func (n *node) limitMemory(ctx context.Context) (int64, error) {
	m, err := n.api().Memory(ctx, n.container())
	if err != nil {
		return 0, err
	}
	if m.Used == 0 {
		return 0, errors.New("it is down")
	}
	n.mu.Lock()
	n.limited = limited{since: n.cluster.opts.Clock(), faults: m.MajorFaults}
	n.mu.Unlock()
	for _, more := range headroom {
		limit := m.Used - m.Cache + more
		making, cancel := steady(ctx)
		err = n.api().SetMemory(making, n.container(), limit)
		cancel()
		if err == nil {
			return limit, nil
		}
	}
	return 0, errors.Join(err, n.freeMemory(ctx))
}

func (n *node) FreeMemory(ctx context.Context) error {
	n.op.Lock()
	defer n.op.Unlock()
	return n.wrap("freeing the memory of", n.freeMemory(ctx))
}

func (n *node) freeMemory(ctx context.Context) error {
	n.mu.Lock()
	was := n.limited
	n.mu.Unlock()
	if was.since.IsZero() {
		return nil
	}
	ctx, cancel := steady(ctx)
	defer cancel()
	if err := n.api().SetMemory(ctx, n.container(), 0); err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	n.mu.Lock()
	n.limited = limited{}
	n.mu.Unlock()
	return nil
}

// MemoryPressure reads the control group's statistics and the engine's events.
func (n *node) MemoryPressure(ctx context.Context) (topology.Pressure, error) {
	n.mu.Lock()
	was := n.limited
	n.mu.Unlock()
	if was.since.IsZero() {
		return topology.Pressure{}, n.wrap("reading the memory of", errors.New("it has no limit"))
	}
	m, err := n.api().Memory(ctx, n.container())
	if err != nil {
		return topology.Pressure{}, n.wrap("reading the memory of", err)
	}
	ooms, err := n.api().OOMs(ctx, n.container(), was.since)
	// A server that was killed and started again counts from 0.
	return topology.Pressure{MajorFaults: max(m.MajorFaults-was.faults, 0), OOMs: ooms}, n.wrap("reading the memory of", err)
}

// sizedNode is a node whose volume has a fixed size.
type sizedNode struct{ *node }

// FillDisk writes a file until there is no room for it.
func (n sizedNode) FillDisk(ctx context.Context) error {
	n.op.Lock()
	defer n.op.Unlock()
	if _, err := n.onDisk(ctx, root, "! cat /dev/zero 2>/dev/null >"+ballast); err != nil {
		return n.wrap("filling the disk of", err)
	}
	_, free, err := n.DiskSpace(ctx)
	if err == nil && free > 0 {
		err = fmt.Errorf("%d bytes are still free", free)
	}
	return n.wrap("filling the disk of", err)
}

// FreeDisk removes that file.
func (n sizedNode) FreeDisk(ctx context.Context) error {
	n.op.Lock()
	defer n.op.Unlock()
	if n.isLost() {
		return nil
	}
	_, err := n.onDisk(ctx, root, "rm -f "+ballast)
	return n.wrap("freeing the disk of", err)
}

// DiskSpace is what df says.
func (n sizedNode) DiskSpace(ctx context.Context) (size, free int64, err error) {
	out, err := n.onDisk(ctx, root, "df -P -B1 "+diskDir)
	if err != nil {
		return 0, 0, n.wrap("measuring the disk of", err)
	}
	// Filesystem, blocks, used, available, capacity, mounted on; below a line of headings.
	lines := strings.Split(strings.TrimSpace(out), "\n")
	f := strings.Fields(lines[len(lines)-1])
	if len(f) < 6 {
		return 0, 0, n.wrap("measuring the disk of", fmt.Errorf("df says %q", oneLine(out)))
	}
	size, err1 := strconv.ParseInt(f[1], 10, 64)
	free, err2 := strconv.ParseInt(f[3], 10, 64)
	return size, free, n.wrap("measuring the disk of", errors.Join(err1, err2))
}
