package rescue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/spockchaos/spockchaos/topology"
	"github.com/spockchaos/spockchaos/topology/attach"
	"github.com/spockchaos/spockchaos/topology/engine"
)

// How long the parts may take that do not depend on how much there is to replay.
const (
	askLimit    = 30 * time.Second // one question to a survivor
	stopLimit   = 30 * time.Second // until a survivor has stopped listening to the failed node
	removeLimit = 3 * time.Minute  // a survivor tries to reach the failed node when it drops its subscription
	endLimit    = 15 * time.Second // until temporary clones and sessions of the procedures are gone; see docs/recovery.md
	graceLimit  = 40 * time.Second // until an interrupted CALL has put back what it had suspended
)

// pollPause lies between two looks at what is awaited.
const pollPause = 200 * time.Millisecond

// Options say which node was lost and how the others are reached.
type Options struct {
	Failed string
	// FailedDSN are conninfos by which the failed node would answer this machine, beside those that the survivors know.
	FailedDSN []string
	// Survivors are all nodes that were named but the failed one.
	Survivors []attach.Node
	// Maybe says that a survivor comes from a description of the cluster, and may have been removed since: if it does not answer and no
	// survivor subscribes to it, it does not count.
	Maybe map[string]bool
	// Source, Targets and Coordinator are chosen where they are not named.
	Source      string
	Targets     []string
	Coordinator string
	// ServerDSN is how the servers reach a node, where that is not what their catalogs say.
	ServerDSN map[string]string
	// Install puts the recovery procedures where they are missing or old.
	Install bool
	// Fenced says that the failed node can do nothing any more, whether it answers or not.
	Fenced bool
}

// Rescue is the survivors of a lost node, connected. It is for one goroutine, and to be closed.
type Rescue struct {
	opts      Options
	engine    engine.Engine
	survivors []*survivor
	notes     []string
}

// UsageError is a reason why a rescue was not begun: wrong names, a node that does not answer, a server without the
// procedures. It is one line, and nothing was changed (but for what Install did).
type UsageError struct{ Err error }

func (e *UsageError) Error() string { return e.Err.Error() }
func (e *UsageError) Unwrap() error { return e.Err }

// Open connects to every survivor and makes sure that a rescue can be talked about with them. An error is a *UsageError unless ctx is done.
func Open(ctx context.Context, o Options) (_ *Rescue, err error) {
	r := &Rescue{opts: o}
	if err := o.check(); err != nil {
		return nil, &UsageError{err}
	}
	defer func() {
		if err != nil {
			r.Close()
			if ctx.Err() == nil {
				err = &UsageError{err}
			}
		}
	}()
	if err := r.connect(ctx); err != nil {
		return nil, err
	}
	r.engine = r.survivors[0].Engine
	for _, s := range r.survivors {
		if s.Engine.Name() != r.engine.Name() {
			return nil, fmt.Errorf("%s has %s, %s has %s: a rescue needs one engine", r.survivors[0].Name, r.engine.Name(), s.Name, s.Engine.Name())
		}
		note, err := s.Procedures(ctx, o.Install)
		if err != nil {
			return nil, err
		}
		if note != "" {
			r.notes = append(r.notes, note)
		}
	}
	return r, r.read(ctx)
}

// check looks at the names alone.
func (o Options) check() error {
	var names []string
	for _, n := range o.Survivors {
		if slices.Contains(names, n.Name) {
			return fmt.Errorf("%s is named twice", n.Name)
		}
		names = append(names, n.Name)
	}
	if len(names) == 0 {
		return fmt.Errorf("no survivor of %s is named", o.Failed)
	}
	for what, name := range map[string]string{"source": o.Source, "coordinator": o.Coordinator} {
		if name != "" && !slices.Contains(names, name) {
			return fmt.Errorf("%s %s is none of the survivors: %s", what, name, strings.Join(names, ", "))
		}
	}
	for _, t := range o.Targets {
		if !slices.Contains(names, t) {
			return fmt.Errorf("target %s is none of the survivors: %s", t, strings.Join(names, ", "))
		}
		if t == o.Source {
			return fmt.Errorf("%s cannot be source and target", t)
		}
	}
	return nil
}

// connect opens every survivor.
func (r *Rescue) connect(ctx context.Context) error {
	servers := make([]*attach.Server, len(r.opts.Survivors))
	away := make([]error, len(r.opts.Survivors))
	var all sync.WaitGroup
	for i, n := range r.opts.Survivors {
		all.Go(func() { servers[i], away[i] = attach.Open(ctx, n) })
	}
	all.Wait()
	for i, s := range servers {
		if s != nil {
			r.survivors = append(r.survivors, &survivor{Server: s})
			continue
		}
		var absent *attach.AwayError
		if !errors.As(away[i], &absent) || !r.opts.Maybe[r.opts.Survivors[i].Name] {
			return away[i]
		}
	}
	if len(r.survivors) == 0 {
		return away[0]
	}
	for _, err := range away {
		var absent *attach.AwayError
		if !errors.As(err, &absent) {
			continue
		}
		for _, s := range r.survivors {
			if known, kerr := s.subscribesTo(ctx, absent.Node); kerr != nil || known {
				return errors.Join(err, kerr)
			}
		}
		r.notes = append(r.notes, fmt.Sprintf("%s does not answer, and no survivor subscribes to it: it is left out", absent.Node))
	}
	return nil
}

// Engine is what the survivors have.
func (r *Rescue) Engine() string { return r.engine.Name() }

// Close ends the connections.
func (r *Rescue) Close() {
	for _, s := range r.survivors {
		s.Close()
	}
}

// read reads what every survivor has.
func (r *Rescue) read(ctx context.Context) error {
	return topology.Each(ctx, r.survivors, func(ctx context.Context, s *survivor) error {
		ctx, cancel := context.WithTimeout(ctx, askLimit)
		defer cancel()
		return s.Do(ctx, func(c *pgx.Conn) error { return s.read(ctx, c, r.engine, r.opts.Failed) })
	})
}

// survivor by name, nil if there is none.
func (r *Rescue) survivor(name string) *survivor {
	for _, s := range r.survivors {
		if s.Name == name {
			return s
		}
	}
	return nil
}
