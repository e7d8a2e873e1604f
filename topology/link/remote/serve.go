package remote

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/spockchaos/spockchaos/topology"
	"github.com/spockchaos/spockchaos/topology/link"
)

// headerLimit is how long a request's header may take to come; goodbye is how long requests may take to end
// when the process does.
const (
	headerLimit = 5 * time.Second
	goodbye     = time.Second
)

// Config says what links Serve holds, and where.
type Config struct {
	Bind  string // the address at which links listen
	Links []link.Spec
	Seed  uint64 // of the links' jitter
	// Control is where the control API listens, API where Toxiproxy's does: "" is nowhere.
	Control, API string
	Log          *zap.Logger
}

func (c *Config) check() error {
	if len(c.Links) == 0 {
		return errors.New("there is no link to hold")
	}
	ports := map[int]string{}
	for _, s := range c.Links {
		if s.To == topology.Client {
			return fmt.Errorf("link %s: nobody dials %s", s.Name(), topology.Client)
		}
		if other := ports[s.Port]; other != "" {
			return fmt.Errorf("links %s and %s have the same port %d", other, s.Name(), s.Port)
		}
		ports[s.Port] = s.Name()
	}
	return nil
}

// Serve holds links until ctx ends. The control API answers once every link listens.
func Serve(ctx context.Context, c Config) (err error) {
	if err := c.check(); err != nil {
		return err
	}
	set, err := link.NewSet(c.Bind, c.Seed, c.Log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, set.Close()) }()
	for _, spec := range c.Links {
		l, err := set.New(spec)
		if err != nil {
			return err
		}
		c.Log.Info("link "+l.Name(), zap.String("listens", l.Addr()), zap.String("server", spec.Server), zap.Duration("delay", spec.Delay))
	}
	failed := make(chan error, 2)
	for _, s := range []struct {
		what, addr string
		handler    http.Handler
	}{{"control API", c.Control, Handler(set)}, {"Toxiproxy API", c.API, set.ToxiproxyAPI()}} {
		if s.addr == "" {
			continue
		}
		srv, err := start(s.addr, s.handler, failed)
		if err != nil {
			return fmt.Errorf("%s: %w", s.what, err)
		}
		defer srv.stop()
		c.Log.Info(s.what, zap.String("listens", srv.addr))
	}
	select {
	case <-ctx.Done():
		c.Log.Info("ending: every link closes")
		return nil
	case err := <-failed:
		return err
	}
}

// server is an HTTP server and the goroutine that runs it.
type server struct {
	http  http.Server
	addr  string
	ended chan struct{}
}

// start serves until stop; why it ended goes to failed, which has room for it.
func start(addr string, h http.Handler, failed chan<- error) (*server, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	s := &server{http: http.Server{Handler: h, ReadHeaderTimeout: headerLimit}, addr: l.Addr().String(), ended: make(chan struct{})}
	go func() {
		failed <- s.http.Serve(l)
		close(s.ended)
	}()
	return s, nil
}

// stop ends the server and returns when it has ended.
func (s *server) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), goodbye)
	defer cancel()
	if s.http.Shutdown(ctx) != nil {
		_ = s.http.Close() // the listener is closed already
	}
	<-s.ended
}
