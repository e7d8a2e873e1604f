package rescue

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/spockchaos/spockchaos/topology/engine"
	"github.com/spockchaos/spockchaos/topology/server"
)

// aliveLimit is how long a node that may be lost is given to answer.
const aliveLimit = 5 * time.Second

// alive are the signs that the failed node lives: each says who saw what. This machine and every survivor's server try every address that is known.
// Nothing seen does not prove that it is gone; that it was fenced is for its operator to say.
func (r *Rescue) alive(ctx context.Context) []string {
	var mu sync.Mutex
	var signs []string
	add := func(who, what string) {
		if what != "" {
			mu.Lock()
			defer mu.Unlock()
			signs = append(signs, fmt.Sprintf("%s, seen from %s", what, who))
		}
	}
	var all sync.WaitGroup
	from := slices.Clone(r.opts.FailedDSN)
	for _, s := range r.survivors {
		dsn := s.peers[r.opts.Failed].dsn
		if dsn == "" {
			continue
		}
		from = append(from, dsn)
		all.Go(func() { add(s.Name, r.askAlive(ctx, s, dsn)) })
	}
	slices.Sort(from)
	for _, dsn := range slices.Compact(from) {
		all.Go(func() { add("this machine", r.dialAlive(ctx, dsn)) })
	}
	all.Wait()
	slices.Sort(signs)
	return slices.Compact(signs)
}

// dialAlive tries an address from here.
func (r *Rescue) dialAlive(ctx context.Context, dsn string) (sign string) {
	cfg, err := server.ParseDSN(dsn)
	if err != nil {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, aliveLimit)
	defer cancel()
	cfg.ConnectTimeout = aliveLimit
	var accepted atomic.Bool
	dial := cfg.DialFunc
	cfg.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		if err == nil {
			accepted.Store(true)
		}
		return c, err
	}
	c, err := pgx.ConnectConfig(ctx, cfg)
	var refused *pgconn.PgError
	switch {
	case errors.As(err, &refused): // whoever refuses lives
		return fmt.Sprintf("a server answers at its address (%s)", refused.Message)
	case err != nil && accepted.Load() && pgconn.Timeout(err):
		return "its address accepts connections and says nothing: it may only be stopped for a while"
	case err != nil:
		return ""
	}
	defer engine.HangUp(c)
	if name, err := r.engine.NodeName(ctx, c); err == nil && name == r.opts.Failed {
		return "it answers"
	}
	return "" // another node has its address, or none
}

// askAlive tries an address from a survivor's server.
func (r *Rescue) askAlive(ctx context.Context, s *survivor, dsn string) (sign string) {
	schema := pgx.Identifier{r.engine.Name()}.Sanitize()
	name, err := s.ask(ctx, dsn, `SELECT n.node_name::text FROM `+schema+`.local_node l JOIN `+schema+`.node n USING (node_id)`)
	switch {
	case err == nil && name == r.opts.Failed:
		return "it answers"
	case err != nil && strings.Contains(err.Error(), "FATAL: "):
		_, said, _ := strings.Cut(err.Error(), "FATAL: ")
		said, _, _ = strings.Cut(strings.TrimSpace(said), "\n")
		said, _, _ = strings.Cut(said, " (SQLSTATE")
		return fmt.Sprintf("a server answers at its address (%s)", strings.TrimSpace(said))
	}
	return ""
}
