package mesh

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/spockchaos/spockchaos/sql"
	"github.com/spockchaos/spockchaos/topology/engine"
	"github.com/spockchaos/spockchaos/topology/server"
	"github.com/spockchaos/spockchaos/topology/wait"
)

// Step is one part of a set-up that has ended.
type Step struct {
	Name string
	Took time.Duration
	Err  error // why it failed; the set-up ends there
	// Notes are what somebody should know of it, each one line.
	Notes []string
}

// How long each step may take.
const (
	serversLimit = 5 * time.Minute // a container's first start makes the data directory, several at once on a loaded machine
	wireLimit    = 90 * time.Second
	installLimit = 60 * time.Second
	arriveLimit  = 60 * time.Second
	probeLimit   = 10 * time.Second // rows that take longer are not on their way
)

// Setup makes the members a mesh, every one subscribed to every other, with slot tracking, rescue and
// recovery slot on each, as a run does. What is there and right stays as it is: it may be called
// again, also on a mesh that is half made or damaged. report is told of each step when it ends.
func Setup(ctx context.Context, c Cluster, report func(Step)) error {
	s := &setup{Cluster: c}
	for _, step := range []struct {
		name  string
		limit time.Duration
		do    func(context.Context) error
	}{
		{"servers answer", serversLimit, s.awaitServers},
		{"mesh is wired", wireLimit, s.wire},
		{"recovery is installed", installLimit, s.install},
		{"rows arrive", arriveLimit, s.arrive},
	} {
		began := time.Now()
		s.notes = nil
		limited, cancel := context.WithTimeout(ctx, step.limit)
		err := step.do(limited)
		cancel()
		report(Step{Name: step.name, Took: time.Since(began), Err: err, Notes: s.notes})
		if err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return nil
}

type setup struct {
	Cluster

	mu    sync.Mutex
	notes []string
}

func (s *setup) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notes = append(s.notes, fmt.Sprintf(format, args...))
}

// askEvery is how often a server is asked for what sends no event.
const askEvery = 50 * time.Millisecond

// AwaitServers returns when every server of a cluster answers. Those that may just be about to start have five minutes.
func AwaitServers(ctx context.Context, c Cluster) error {
	ctx, cancel := context.WithTimeout(ctx, serversLimit)
	defer cancel()
	return (&setup{Cluster: c}).awaitServers(ctx)
}

// awaitServers returns when every server answers.
func (s *setup) awaitServers(ctx context.Context) error {
	var waiting sync.Once
	return each(s.Members, func(m engine.Member) error {
		for {
			err := on(ctx, m.DSN, func(c *pgx.Conn) error { return c.Ping(ctx) })
			if err == nil || !mayPass(err) {
				return short(err)
			}
			if s.Waiting != nil {
				waiting.Do(s.Waiting)
			}
			if wait.For(ctx, askEvery) != nil {
				return fmt.Errorf("no answer in time: %w", short(err))
			}
		}
	})
}

// mayPass says whether a server that refuses so may just be about to start.
func mayPass(err error) bool {
	var said *pgconn.PgError
	return !errors.As(err, &said) || said.Code == "57P03" // cannot_connect_now
}

// short is an error whose text is its reason.
func short(err error) error {
	if err == nil {
		return nil
	}
	return shortError{err}
}

type shortError struct{ error }

func (e shortError) Error() string { return Reason(e.error) }
func (e shortError) Unwrap() error { return e.error }

func (s *setup) wire(ctx context.Context) error {
	if s.Heal != nil {
		if err := s.Heal(ctx); err != nil {
			return err
		}
	}
	err := each(s.Members, func(m engine.Member) error {
		return short(on(ctx, m.DSN, func(c *pgx.Conn) error { return trustPlugin(ctx, c, s.Engine.Name()+"_output") }))
	})
	if err != nil {
		return err
	}
	s.noteLostPlaces(ctx)
	return s.Engine.Wire(ctx, s.Members)
}

// trustPlugin lets the connected server use an output plugin, where it has a list of those that it may use.
func trustPlugin(ctx context.Context, c *pgx.Conn, plugin string) error {
	list := func() (plugins []string, known bool, err error) {
		var setting *string
		if err := c.QueryRow(ctx, `SELECT current_setting($1, true)`, server.PluginList).Scan(&setting); err != nil {
			return nil, false, fmt.Errorf("reading %s: %w", server.PluginList, err)
		}
		if setting == nil {
			return nil, false, nil
		}
		for p := range strings.SplitSeq(*setting, ",") {
			plugins = append(plugins, strings.Trim(p, ` "`))
		}
		return plugins, true, nil
	}
	plugins, known, err := list()
	if err != nil || !known || slices.Contains(plugins, plugin) {
		return err
	}
	var quoted []string // one name each: a single quoted string would become a single name
	for _, p := range append(plugins, plugin) {
		quoted = append(quoted, "'"+strings.ReplaceAll(p, "'", "''")+"'")
	}
	if _, err := c.Exec(ctx, `ALTER SYSTEM SET `+server.PluginList+` = `+strings.Join(quoted, ", ")); err != nil {
		return fmt.Errorf("setting %s: %w", server.PluginList, err)
	}
	if _, err := c.Exec(ctx, `SELECT pg_reload_conf()`); err != nil {
		return fmt.Errorf("reloading the settings: %w", err)
	}
	for {
		if plugins, _, err = list(); err != nil || slices.Contains(plugins, plugin) {
			return err
		}
		if wait.For(ctx, askEvery) != nil {
			return fmt.Errorf("%s does not become part of %s: is that set on the server's command line?", plugin, server.PluginList)
		}
	}
}

// noteLostPlaces tells of subscriptions that have lost their place in the provider's WAL, because the slot is gone: wiring
// makes them anew, but not what was written meanwhile. What cannot be looked at is left to the wiring.
func (s *setup) noteLostPlaces(ctx context.Context) {
	var mu sync.Mutex
	slots := map[string]map[string]bool{} // by node
	subscriptions := map[string][]engine.Subscription{}
	_ = each(s.Members, func(m engine.Member) error {
		return on(ctx, m.DSN, func(c *pgx.Conn) error {
			rows, err := c.Query(ctx, `SELECT slot_name::text FROM pg_replication_slots WHERE database = current_database()`)
			if err != nil {
				return err
			}
			names, err := pgx.CollectRows(rows, pgx.RowTo[string])
			if err != nil {
				return err
			}
			have := map[string]bool{}
			for _, n := range names {
				have[n] = true
			}
			mu.Lock()
			slots[m.Name] = have
			mu.Unlock()
			var there bool
			err = c.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_extension WHERE extname = $1)`, s.Engine.Name()).Scan(&there)
			if err != nil || !there {
				return err
			}
			all, err := s.Engine.Subscriptions(ctx, c)
			mu.Lock()
			subscriptions[m.Name] = all
			mu.Unlock()
			return err
		})
	})
	for _, m := range s.Members {
		for _, sub := range subscriptions[m.Name] {
			if have, known := slots[sub.Provider]; known && !have[sub.Slot] && sub.Status != "initializing" {
				s.note("%s has lost its place in the WAL of %s (there is no slot %s): it goes on from now, without what it missed", m.Name, sub.Provider, sub.Slot)
			}
		}
	}
}

// install puts slot tracking, rescue and the recovery slot on every node.
func (s *setup) install(ctx context.Context) error {
	return each(s.Members, func(m engine.Member) error {
		return on(ctx, m.DSN, func(c *pgx.Conn) error {
			if err := sql.Install(ctx, c, s.Engine.Name(), nil); err != nil {
				return err
			}
			if _, err := c.Exec(ctx, "SELECT spock.create_recovery_slot()"); err != nil {
				return fmt.Errorf("create the recovery slot: %w", err)
			}
			return nil
		})
	})
}

// arrive returns when a row of every node was seen on every other. A subscription whose connection died without a word still looks
// as if it replicated, and one that failed a moment ago may sleep: where rows stay away, all are restarted.
func (s *setup) arrive(ctx context.Context) error {
	for {
		err := s.probe(ctx)
		if err == nil || ctx.Err() != nil {
			return err
		}
		s.note("restarted the subscriptions: %s", Reason(err))
		err = each(s.Members, func(m engine.Member) error {
			return on(ctx, m.DSN, func(c *pgx.Conn) error {
				for _, p := range s.Members {
					if p.Name == m.Name {
						continue
					}
					if err := engine.Restart(ctx, s.Engine, c, p.Name); err != nil {
						return err
					}
				}
				return nil
			})
		})
		if err != nil {
			return err
		}
		if err := s.Engine.Wire(ctx, s.Members); err != nil {
			return err
		}
	}
}

func (s *setup) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	return engine.Probe(ctx, s.Members)
}
