package rescue

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/spockchaos/spockchaos/chaos/retained"
	"github.com/spockchaos/spockchaos/checker/rundir"
)

// Missing is what a target lacks of the failed node, as the source's recovery slot retains it.
type Missing struct {
	Transactions int        `json:"transactions"`
	Changes      int        `json:"changes"` // rows inserted, updated and deleted, and truncates
	First        rundir.LSN `json:"first"`   // commit of the first one, in the failed node's WAL
	Last         rundir.LSN `json:"last"`
	FirstAt      time.Time  `json:"first_at"` // when the failed node committed it
	LastAt       time.Time  `json:"last_at"`
}

func (m *Missing) add(t retained.Transaction) {
	if m.Transactions == 0 {
		m.First, m.FirstAt = t.LSN, t.CommittedAt
	}
	m.Transactions++
	m.Changes += t.Changes
	m.Last, m.LastAt = t.LSN, t.CommittedAt
}

// count reads a copy of the source's recovery slot once and counts for each target what the failed node committed beyond the target's progress.
func (r *Rescue) count(ctx context.Context, source *survivor, targets []*survivor) ([]Missing, error) {
	all := make([]Missing, len(targets))
	err := source.Do(ctx, func(c *pgx.Conn) error {
		_, err := retained.Read(ctx, c, fmt.Sprintf("spockchaos_count_%d", c.PgConn().PID()), retained.Reading{
			Done: func(t retained.Transaction) error {
				for i, target := range targets {
					if t.Origin == source.origin && t.LSN > target.Progress {
						all[i].add(t)
					}
				}
				return nil
			},
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("count what is missing: %w", err)
	}
	return all, nil
}
