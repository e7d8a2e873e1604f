package fault

import (
	"context"
	"fmt"
	"time"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/topology"
)

// memoryLimit leaves a node no more memory than it has: the kernel reclaims, and kills processes when that is not enough.
type memoryLimit struct{ outage }

func newMemoryLimit() Fault {
	return memoryLimit{outage{meta{
		name:       "memory_limit",
		describe:   "a node's container gets hardly more memory than it uses: the kernel reclaims pages and may kill backends",
		class:      OnNode,
		span:       Span{1500 * time.Millisecond, 4 * time.Second},
		containers: true,
	}}}
}

func (memoryLimit) Inject(ctx context.Context, env Env, planned rundir.PlannedFault) (Active, error) {
	n, means, err := runningWith[topology.MemoryLimiter](env, planned)
	if err != nil {
		return nil, err
	}
	m := &squeezed{env: env, node: n, means: means}
	if m.bytes, err = means.LimitMemory(ctx); err != nil {
		return m, fmt.Errorf("limit the memory of %s: %w", planned.Target, err)
	}
	return m, nil
}

type squeezed struct {
	env   Env
	node  topology.Node
	means topology.MemoryLimiter
	bytes int64
}

// fewFaults is how many pages may have to be read again without a limit having to do with it: with one that is felt it is
// hundreds in a second.
const fewFaults = 50

func felt(p topology.Pressure) bool { return p.MajorFaults > fewFaults || p.OOMs > 0 }

// Prove waits until the limit is felt: the kernel counts pages that it has to read again, and out-of-memory kills.
func (m *squeezed) Prove(ctx context.Context) (bool, string, error) {
	var p topology.Pressure
	var broken error
	err := until(ctx, func() (bool, error) {
		if p, broken = m.means.MemoryPressure(ctx); broken != nil {
			return false, broken
		}
		return felt(p), nil
	})
	if broken != nil && ctx.Err() == nil {
		return false, "", fmt.Errorf("memory of %s: %w", m.node.Name(), err)
	}
	return felt(p), fmt.Sprintf("%s is limited to %d MB: the kernel had to read %d pages again and killed for want of memory %d times",
		m.node.Name(), m.bytes>>20, p.MajorFaults, p.OOMs), nil
}

func (m *squeezed) Heal(ctx context.Context) (string, error) {
	if m.env.lost.has(m.node.Name()) {
		return m.node.Name() + " was lost meanwhile", nil
	}
	p, counted := m.means.MemoryPressure(ctx)
	if err := m.means.FreeMemory(ctx); err != nil {
		return "", fmt.Errorf("take the memory limit from %s: %w", m.node.Name(), err)
	}
	proof, err := revive(ctx, m.env, m.node)
	if counted == nil {
		proof = fmt.Sprintf("%d pages read again, %d kills in all; %s", p.MajorFaults, p.OOMs, proof)
	}
	return proof, err
}
