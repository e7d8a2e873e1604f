package mesh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/spockchaos/spockchaos/topology/engine"
	"github.com/spockchaos/spockchaos/topology/server"
)

// Cluster is nodes that are up, or should be.
type Cluster struct {
	Engine  engine.Engine
	Members []engine.Member
	// Waiting is called once by Setup if it has to wait for a server; nil for nobody.
	Waiting func()
	// Heal makes every link pass again; nil where nobody can have broken them. Setup calls it before anything goes over them.
	Heal func(context.Context) error
}

// connectLimit bounds how long a server may take to let somebody in. On a machine that has more to do than it can, a server that is
// well was seen to take more than 5 s. One that is down refuses at once.
const connectLimit = 15 * time.Second

// on runs f on a connection straight to the member's server.
func on(ctx context.Context, dsn string, f func(*pgx.Conn) error) error {
	c, err := Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer engine.HangUp(c)
	return f(c)
}

// Connect connects to a server. Unreachable tells whether an error says that it let nobody in.
func Connect(ctx context.Context, dsn string) (*pgx.Conn, error) {
	cfg, err := server.ParseDSN(dsn)
	if err != nil {
		return nil, err
	}
	cfg.ConnectTimeout = connectLimit // the conninfo's own is meant for subscriptions
	connecting, cancel := context.WithTimeout(ctx, connectLimit)
	defer cancel()
	c, err := pgx.ConnectConfig(connecting, cfg)
	if err != nil {
		return nil, unreachableError{err}
	}
	return c, nil
}

// Unreachable says whether an error is that of a server which let nobody in.
func Unreachable(err error) bool {
	var away unreachableError
	return errors.As(err, &away)
}

// each runs f for every member at once and joins what went wrong, each named by its member.
func each(members []engine.Member, f func(engine.Member) error) error {
	errs := make([]error, len(members))
	var all sync.WaitGroup
	for i, m := range members {
		all.Go(func() {
			if err := f(m); err != nil {
				errs[i] = fmt.Errorf("%s: %w", m.Name, err)
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// unreachableError is a server that let nobody in.
type unreachableError struct{ error }

func (e unreachableError) Unwrap() error { return e.error }

// Reason is what an error comes to, in one line: what a driver or the system puts around it says nothing to
// somebody who knows which node it is about.
func Reason(err error) string {
	if err == nil {
		return ""
	}
	var said *pgconn.PgError
	var system *net.OpError
	var away unreachableError
	text := err.Error()
	switch {
	case errors.As(err, &said):
		text = said.Message
		if detail, _, _ := strings.Cut(said.Detail, "\n"); detail != "" {
			text += ": " + detail
		}
	case errors.As(err, &away) && errors.Is(err, context.DeadlineExceeded):
		text = "no answer within " + connectLimit.String()
	case errors.As(err, &system):
		text = system.Err.Error()
		text = text[strings.LastIndex(text, ": ")+1:] // "connect: connection refused"
	}
	return strings.Join(strings.Fields(text), " ")
}
