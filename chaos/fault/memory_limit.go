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

// Prove waits until the limit was reached, which the kernel counts.
func (m *squeezed) Prove(ctx context.Context) (bool, string, error) {
	var p topology.Pressure
	var broken error
	err := until(ctx, func() (bool, error) {
		if p, broken = m.means.MemoryPressure(ctx); broken != nil {
			return false, broken
		}
		return p.Hits > 0 || p.OOMs > 0, nil
	})
	if broken != nil && ctx.Err() == nil {
		return false, "", fmt.Errorf("memory of %s: %w", m.node.Name(), err)
	}
	return p.Hits > 0 || p.OOMs > 0, fmt.Sprintf("%s is limited to %d MB: the limit was reached %d times, the kernel ran out of memory for it %d times",
		m.node.Name(), m.bytes>>20, p.Hits, p.OOMs), nil
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
		proof = fmt.Sprintf("reached %d times, out of memory %d times in all; %s", p.Hits, p.OOMs, proof)
	}
	return proof, err
}
