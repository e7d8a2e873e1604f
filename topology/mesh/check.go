package mesh

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/spockchaos/spockchaos/sql"
	"github.com/spockchaos/spockchaos/topology"
	"github.com/spockchaos/spockchaos/topology/engine"
)

// Result is what one check of a cluster came to.
type Result struct {
	Name    string
	OK      bool
	Skipped bool
	Took    time.Duration
	// Reason is, in one line, what was found where all is well and what is wrong where not.
	Reason string
	Parts  []Part
}

// Part is one thing that a check looked at: a node, or one node as another has it.
type Part struct {
	Subject string // "n1", "n3>n1"
	OK      bool
	Took    time.Duration
	Reason  string
}

// Options of Check.
type Options struct {
	// SkipReplication leaves the data flow out, the only check that writes.
	SkipReplication bool
}

// Check looks whether the members are a mesh. report is told of each check when it ends; all of them are made whatever
// came out of those before. An error means that ctx was done before the end.
func Check(ctx context.Context, c Cluster, o Options, report func(Result)) (ok bool, err error) {
	k := &checks{Cluster: c}
	ok = true
	for _, check := range []struct {
		name  string
		parts func(context.Context) []Part
		found string // what is there when all is well
		skip  bool
	}{
		{"host connectivity", k.host, "every node answers this machine", false},
		{"inter-node connectivity", k.interNode, "every node reaches every other", false},
		{"extension", k.extension, "", false},
		{"nodes", k.nodes, "every node has its name and its recovery slot", false},
		{"subscriptions", k.subscriptions, "every node replicates from every other", false},
		{"data flow", k.dataFlow, "a row of every node came to every other, and went again", o.SkipReplication},
	} {
		r := Result{Name: check.name, OK: true, Skipped: check.skip, Reason: "skipped"}
		if !check.skip {
			began := time.Now()
			r.Parts = check.parts(ctx)
			r.Took = time.Since(began)
			r.OK, r.Reason = sum(r.Parts, check.found)
		}
		if ctx.Err() != nil {
			return false, fmt.Errorf("checking %s: %w", check.name, context.Cause(ctx))
		}
		ok = ok && r.OK
		report(r)
	}
	return ok, nil
}

// sum is what the parts of a check come to; found says so when all is well, the first part where it is empty.
func sum(parts []Part, found string) (ok bool, why string) {
	var reasons []string
	subjects := map[string][]string{} // by reason
	for _, p := range parts {
		if !p.OK {
			if subjects[p.Reason] == nil {
				reasons = append(reasons, p.Reason)
			}
			subjects[p.Reason] = append(subjects[p.Reason], p.Subject)
		}
	}
	var wrong []string
	for _, r := range reasons {
		wrong = append(wrong, strings.Join(subjects[r], ", ")+": "+r)
	}
	switch {
	case len(wrong) > 0:
		return false, strings.Join(wrong, "; ")
	case found == "" && len(parts) > 0:
		return true, parts[0].Reason
	}
	return true, found
}

type checks struct{ Cluster }

// subject is something to look at.
type subject struct {
	name string
	look func(context.Context) (says string, err error)
}

// all looks at the subjects at the same time, at each for no longer than limit.
func all(ctx context.Context, limit time.Duration, subjects []subject) []Part {
	parts := make([]Part, len(subjects))
	var looking sync.WaitGroup
	for i, s := range subjects {
		looking.Go(func() {
			began := time.Now()
			limited, cancel := context.WithTimeout(ctx, limit)
			defer cancel()
			says, err := s.look(limited)
			parts[i] = Part{Subject: s.name, OK: err == nil, Took: time.Since(began), Reason: says}
			if err != nil {
				parts[i].Reason = Reason(err)
			}
		})
	}
	looking.Wait()
	return parts
}

// lookLimit bounds a look at one node, or from one node at another.
const lookLimit = 2 * connectLimit

// perNode looks at every node on a connection of its own.
func (k *checks) perNode(ctx context.Context, look func(context.Context, *pgx.Conn, engine.Member) (string, error)) []Part {
	var subjects []subject
	for _, m := range k.Members {
		subjects = append(subjects, subject{m.Name, func(ctx context.Context) (says string, err error) {
			err = on(ctx, m.DSN, func(c *pgx.Conn) error {
				says, err = look(ctx, c, m)
				return err
			})
			return says, err
		}})
	}
	return all(ctx, lookLimit, subjects)
}

// host connects to every node from here: directly, and through the client's link where there is one.
func (k *checks) host(ctx context.Context) []Part {
	var subjects []subject
	answer := func(dsn string) func(context.Context) (string, error) {
		return func(ctx context.Context) (version string, err error) {
			err = on(ctx, dsn, func(c *pgx.Conn) error {
				return c.QueryRow(ctx, `SELECT 'PostgreSQL ' || current_setting('server_version')`).Scan(&version)
			})
			return version, err
		}
	}
	for _, m := range k.Members {
		subjects = append(subjects, subject{m.Name, answer(m.DSN)})
		if dsn, ok := m.PeerDSN[topology.Client]; ok {
			subjects = append(subjects, subject{topology.Client + ">" + m.Name, answer(dsn)})
		}
	}
	return all(ctx, lookLimit, subjects)
}

// extension looks whether every database has the engine's extension, loaded, and the recovery procedures.
func (k *checks) extension(ctx context.Context) []Part {
	name := k.Engine.Name()
	return k.perNode(ctx, func(ctx context.Context, c *pgx.Conn, _ engine.Member) (string, error) {
		var available, installed, preloaded *string
		var recovery bool
		err := c.QueryRow(ctx, `SELECT (SELECT default_version FROM pg_available_extensions WHERE name = $1),
			(SELECT extversion FROM pg_extension WHERE extname = $1), current_setting('shared_preload_libraries'),
			to_regprocedure('spock.recovery_files_version()') IS NOT NULL`, name).Scan(&available, &installed, &preloaded, &recovery)
		switch {
		case err != nil:
			return "", err
		case available == nil:
			return "", fmt.Errorf("the server has no extension %s", name)
		case preloaded == nil || !strings.Contains(*preloaded, name):
			return "", fmt.Errorf("%s is not in shared_preload_libraries", name)
		case installed == nil:
			return "", fmt.Errorf("the database has no extension %s%s", name, runSetup)
		case !recovery:
			return "", errNoProcedures
		}
		return name + " " + *installed, nil
	})
}

// runSetup ends a reason that a set-up would remove.
const runSetup = " (run spockchaos setup)"

var errNoProcedures = errors.New("the database has no recovery procedures" + runSetup)

// nodes looks whether every database is the node that it should be, with a recovery slot that still holds its WAL.
func (k *checks) nodes(ctx context.Context) []Part {
	return k.perNode(ctx, func(ctx context.Context, c *pgx.Conn, m engine.Member) (string, error) {
		var known bool
		if err := c.QueryRow(ctx, `SELECT to_regclass('spock.recovery_node') IS NOT NULL`).Scan(&known); err != nil {
			return "", err
		}
		if !known { // they tell the name of the node
			return "", errNoProcedures
		}
		var name, database string
		var slot, wal *string
		err := c.QueryRow(ctx, `SELECT coalesce((SELECT node_name FROM spock.recovery_node), ''), current_database()`).Scan(&name, &database)
		switch {
		case err != nil:
			return "", err
		case name == "":
			return "", errors.New("is no node" + runSetup)
		case name != m.Name:
			return "", errors.New("is node " + name)
		}
		want := sql.RecoverySlotName(database)
		err = c.QueryRow(ctx, `SELECT slot_name::text, wal_status FROM pg_replication_slots WHERE slot_name = $1`, want).Scan(&slot, &wal)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			return "", fmt.Errorf("has no recovery slot %s%s", want, runSetup)
		case err != nil:
			return "", err
		case wal != nil && (*wal == "lost" || *wal == "unreserved"):
			return "", fmt.Errorf("the WAL of its recovery slot is %s: drop slot %s%s", *wal, want, runSetup)
		}
		return "is a node, with slot " + want, nil
	})
}

// subscriptions looks whether every node replicates from every other.
func (k *checks) subscriptions(ctx context.Context) []Part {
	var mu sync.Mutex
	found := map[string]map[string]engine.Subscription{} // by subscriber and provider
	looks := k.perNode(ctx, func(ctx context.Context, c *pgx.Conn, m engine.Member) (string, error) {
		list, err := k.Engine.Subscriptions(ctx, c)
		mu.Lock()
		defer mu.Unlock()
		found[m.Name] = map[string]engine.Subscription{}
		for _, s := range list {
			found[m.Name][s.Provider] = s
		}
		return "", err
	})
	var parts []Part
	for _, look := range looks {
		if !look.OK {
			parts = append(parts, look)
			continue
		}
		for _, p := range k.Members {
			if p.Name == look.Subject {
				continue
			}
			part := Part{Subject: look.Subject + ">" + p.Name, Took: look.Took}
			s, there := found[look.Subject][p.Name]
			switch {
			case !there:
				part.Reason = "there is no subscription" + runSetup
			case s.Status == "disabled":
				part.Reason = s.Name + " is disabled" + runSetup
			default:
				part.OK = s.Status == "replicating"
				part.Reason = s.Name + " is " + s.Status
			}
			parts = append(parts, part)
		}
	}
	return parts
}
