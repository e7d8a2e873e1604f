package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/spockchaos/spockchaos/topology/link"
	"github.com/spockchaos/spockchaos/topology/link/remote"
)

// proxyCommand holds the links of a cluster in containers.
func (a *App) proxyCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "proxy",
		Short: "Hold the links of a cluster in containers",
		Long: `Holds links until it is told to end: each listens at its port, dials its server for every connection and
breaks what passes as it is asked to. It is asked by its control API, as a run does, or by Toxiproxy's HTTP API, for
which toxiproxy-cli is made. Neither asks who is there: publish them on 127.0.0.1 alone.

A link is from=CLIENT_OR_NODE,to=NODE,listen=PORT,server=HOST:PORT and, where the line itself takes
time, delay=DURATION: every byte comes so much later, each way once, so that a round trip takes twice that.`,
		Args: noArgs,
		Example: `  spockchaos proxy --link from=client,to=n1,listen=6001,server=10.0.0.11:5432
  spockchaos proxy --bind 0.0.0.0 --control 0.0.0.0:8475 --api 0.0.0.0:8474 \
      --link from=n2,to=n1,listen=6021,server=n1:5432,delay=30ms \
      --link from=n1,to=n2,listen=6012,server=n2:5432,delay=30ms
  spockchaos proxy --healthy 127.0.0.1:8475`,
	}
	var cfg remote.Config
	var links []string
	var healthy string
	var verbose bool
	f := c.Flags()
	f.StringArrayVar(&links, "link", nil, "a link to hold, see above; once for each")
	f.StringVar(&cfg.Bind, "bind", link.Loopback, "IP address at which links listen")
	f.StringVar(&cfg.Control, "control", "127.0.0.1:8475", "where the control API listens")
	f.StringVar(&cfg.API, "api", "", "where Toxiproxy's HTTP API listens (default: nowhere)")
	f.Uint64Var(&cfg.Seed, "seed", 0, "seed of the links' jitter")
	f.StringVar(&healthy, "healthy", "", "only ask the control API at this address whether it holds its links: exit status 0 or 2")
	f.BoolVarP(&verbose, "verbose", "v", false, "log connections that fail, too")
	c.RunE = func(c *cobra.Command, _ []string) error {
		switch {
		case healthy != "" && len(links) > 0:
			return errors.New("--healthy holds no links: leave --link out")
		case healthy != "":
			return isHealthy(c.Context(), healthy)
		case len(links) == 0:
			return fmt.Errorf("there is no --link to hold; see `%s --help`", c.CommandPath())
		}
		for _, text := range links {
			spec, err := link.ParseSpec(text)
			if err != nil {
				return err
			}
			cfg.Links = append(cfg.Links, spec)
		}
		cfg.Log = a.proxyLog(verbose)
		signals := a.watchSignals(c.Context(), a.Stderr, "closing every link")
		defer signals.stop()
		return remote.Serve(signals.ctx, cfg)
	}
	return c
}

// isHealthy returns nil if a control API answers at addr.
func isHealthy(ctx context.Context, addr string) error {
	set, err := remote.Dial(ctx, addr)
	if err != nil {
		return err
	}
	set.Close()
	return nil
}

// proxyLog writes for who reads a container's log.
func (a *App) proxyLog(verbose bool) *zap.Logger {
	level := zapcore.InfoLevel
	if verbose {
		level = zapcore.DebugLevel
	}
	return zap.New(zapcore.NewCore(consoleEncoder(), zapcore.Lock(zapcore.AddSync(a.Stderr)), level))
}
