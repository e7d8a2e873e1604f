package fault

import (
	"context"
	"fmt"
	"time"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/topology"
)

// dropPackets has a node's own network stack drop every packet from and to the links. No proxy's kernel answers in its
// place, so this is a partition that TCP's keepalives and retransmissions notice.
type dropPackets struct{ outage }

func newDropPackets() Fault {
	return dropPackets{outage{meta{
		name:       "drop_packets",
		describe:   "a node's own network stack drops all packets from and to its peers and clients, as a cut cable does",
		class:      OnNode,
		span:       Span{2 * time.Second, 6 * time.Second},
		containers: true,
	}}}
}

func (dropPackets) Inject(ctx context.Context, env Env, planned rundir.PlannedFault) (Active, error) {
	n, means, err := runningWith[topology.PacketDropper](env, planned)
	if err != nil {
		return nil, err
	}
	d := &dropping{env: env, id: planned.ID, node: n, means: means}
	if err := means.DropPackets(ctx); err != nil {
		return d, fmt.Errorf("drop the packets of %s: %w", planned.Target, err)
	}
	return d, nil
}

type dropping struct {
	env   Env
	id    int
	node  topology.Node
	means topology.PacketDropper
}

// Prove waits for the first packets in the rule's own counter.
func (d *dropping) Prove(ctx context.Context) (bool, string, error) {
	var in, out int64
	var broken error
	err := until(ctx, func() (bool, error) {
		if in, out, broken = d.means.DroppedPackets(ctx); broken != nil {
			return false, broken
		}
		return in+out > 0, nil
	})
	if broken != nil && ctx.Err() == nil {
		return false, "", fmt.Errorf("dropped packets of %s: %w", d.node.Name(), err)
	}
	return in+out > 0, fmt.Sprintf("the kernel dropped %d packets to %s and %d from it", in, d.node.Name(), out), nil
}

// Heal also waits until a new connection through the clients' link is answered.
func (d *dropping) Heal(ctx context.Context) (string, error) {
	name := d.node.Name()
	if d.env.lost.has(name) {
		return name + " was lost meanwhile", nil
	}
	in, out, counted := d.means.DroppedPackets(ctx)
	if err := d.means.PassPackets(ctx); err != nil {
		return "", fmt.Errorf("pass the packets of %s: %w", name, err)
	}
	proof, err := reopened(ctx, d.env, d.id, []string{LinkName(topology.Client, name)})
	if counted == nil {
		proof = fmt.Sprintf("%d packets dropped to it and %d from it in all; %s", in, out, proof)
	}
	return proof, err
}
