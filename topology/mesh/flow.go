package mesh

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/spockchaos/spockchaos/topology/engine"
	"github.com/spockchaos/spockchaos/topology/wait"
)

const (
	// flowLimit is how long a row may take from one node to another.
	flowLimit = 10 * time.Second
	// cleanLimit bounds the removal of what a test wrote, also after an interruption.
	cleanLimit = 5 * time.Second
	// staleAfter is the age at which a row belongs to no test that still runs.
	staleAfter = 10 * time.Minute
)

// flow is one test of the data flow. Its rows are in the engine's probe table, with the key test/<id>/<node> and the time in
// seconds as their number.
type flow struct {
	members []engine.Member
	id      string
}

func (f *flow) key(node string) string { return "test/" + f.id + "/" + node }

// dataFlow writes a row on every node, waits until it is on every other one, deletes it and waits until it is gone there.
// Whatever happens, it removes what it wrote.
func (k *checks) dataFlow(ctx context.Context) []Part {
	f := &flow{members: k.Members, id: rand.Text()}
	defer f.clean(ctx)
	written := map[string]error{}
	for _, p := range k.perNode(ctx, f.write) {
		if !p.OK {
			written[p.Subject] = errors.New(p.Reason)
		}
	}
	parts := f.followAll(ctx, written, `SELECT EXISTS (SELECT FROM `+engine.ProbeTable+` WHERE node = $1)`, "its row did not arrive")
	gone := map[string]error{}
	for _, p := range k.perNode(ctx, f.remove) {
		if !p.OK {
			gone[p.Subject] = errors.New(p.Reason)
		}
	}
	// A row that did not come cannot be seen to go.
	for i, p := range f.followAll(ctx, gone, `SELECT NOT EXISTS (SELECT FROM `+engine.ProbeTable+` WHERE node = $1)`, "its row came but was not deleted") {
		if parts[i].OK && !p.OK {
			parts[i].OK, parts[i].Reason = false, p.Reason
		}
	}
	return parts
}

// write puts the node's row into its table, and removes rows that a killed test left behind.
func (f *flow) write(ctx context.Context, c *pgx.Conn, m engine.Member) (string, error) {
	var there bool
	if err := c.QueryRow(ctx, `SELECT to_regclass($1) IS NOT NULL`, engine.ProbeTable).Scan(&there); err != nil {
		return "", err
	}
	if !there {
		return "", fmt.Errorf("there is no table %s%s", engine.ProbeTable, runSetup)
	}
	_, err := c.Exec(ctx, `DELETE FROM `+engine.ProbeTable+` WHERE node LIKE 'test/%' AND n < extract(epoch FROM now()) - $1::float8`, staleAfter.Seconds())
	if err != nil {
		return "", err
	}
	_, err = c.Exec(ctx, `INSERT INTO `+engine.ProbeTable+` (node, n) VALUES ($1, extract(epoch FROM now())::bigint)`, f.key(m.Name))
	return "", err
}

func (f *flow) remove(ctx context.Context, c *pgx.Conn, m engine.Member) (string, error) {
	_, err := c.Exec(ctx, `DELETE FROM `+engine.ProbeTable+` WHERE node = $1`, f.key(m.Name))
	return "", err
}

// followAll waits on every node for each other one's row, of which query ($1 is the key) says whether it is as it should be.
// not has the nodes that could not write.
func (f *flow) followAll(ctx context.Context, not map[string]error, query, otherwise string) []Part {
	var subjects []subject
	for _, from := range f.members {
		for _, to := range f.members {
			if from.Name == to.Name {
				continue
			}
			subjects = append(subjects, subject{from.Name + " to " + to.Name, func(ctx context.Context) (string, error) {
				if err := not[from.Name]; err != nil {
					return "", err
				}
				return "", on(ctx, to.DSN, func(c *pgx.Conn) error { return await(ctx, c, query, f.key(from.Name), otherwise) })
			}})
		}
	}
	return all(ctx, flowLimit, subjects)
}

// await asks until query is true.
func await(ctx context.Context, c *pgx.Conn, query, key, otherwise string) error {
	for {
		var as bool
		err := c.QueryRow(ctx, query, key).Scan(&as)
		switch {
		case err == nil && as:
			return nil
		case err != nil && ctx.Err() == nil:
			return err
		}
		if wait.For(ctx, askEvery/5) != nil {
			return fmt.Errorf("%s within %s", otherwise, flowLimit)
		}
	}
}

// clean removes what is left of the test. The rows go where they were written, and replication takes them away
// elsewhere, also those that are still under way; a node that cannot be reached leaves its row to the others, which remove it themselves.
func (f *flow) clean(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanLimit)
	defer cancel()
	var mu sync.Mutex
	var orphans []string
	_ = each(f.members, func(m engine.Member) error {
		err := on(ctx, m.DSN, func(c *pgx.Conn) error {
			_, err := f.remove(ctx, c, m)
			return err
		})
		if err != nil {
			mu.Lock()
			orphans = append(orphans, f.key(m.Name))
			mu.Unlock()
		}
		return err
	})
	if len(orphans) == 0 {
		return
	}
	// What cannot be removed now is removed by the next test: it is stale then.
	_ = each(f.members, func(m engine.Member) error {
		return on(ctx, m.DSN, func(c *pgx.Conn) error {
			_, err := c.Exec(ctx, `DELETE FROM `+engine.ProbeTable+` WHERE node = ANY ($1)`, orphans)
			return err
		})
	})
}
