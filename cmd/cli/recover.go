package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/spockchaos/spockchaos/chaos/rescue"
	"github.com/spockchaos/spockchaos/topology/attach"
)

// Rescuer is a rescue that was opened.
type Rescuer interface {
	Plan(ctx context.Context) (rescue.Plan, error)
	Run(ctx context.Context, p rescue.Plan, report rescue.Report) (rescue.Result, error)
	Close()
}

// recoverFlags are those of recover beside the nodes.
type recoverFlags struct {
	failed, source, coordinator     string
	targets, serverDSN              []string
	plan, yes, install, fenced, say bool
	timeout                         time.Duration
	output                          string
}

func (a *App) recoverCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "recover --failed NODE",
		Short: "Rescue the survivors of a lost node on a cluster that runs already",
		Long: `Looks what each survivor has of the failed node and counts what it lacks, says what it would do, and does it once that
is agreed to: CALL spock.recovery for every survivor that lags, from the one that has most; then it makes sure that they
are level and that nothing is left behind. At the end the failed node's subscriptions are removed from the survivors. It
may be called again at any time: it goes on where it was, or says that there is nothing to do.

Exit status: 0 rescued, nothing to do, or plan shown; 1 the rescue failed, cannot be made (the plan says why), or left
the survivors not level; 2 could not run.`,
		Args: noArgs,
		Example: `  spockchaos recover --failed n1 --node "n2=host=10.0.0.2 dbname=app" --node "n3=host=10.0.0.3 dbname=app" --plan
  spockchaos recover --failed n1 --compose-file docker-compose.yml`,
	}
	nodes := addNodeFlags(c)
	var f recoverFlags
	flags := c.Flags()
	flags.StringVar(&f.failed, "failed", "", "the node that was lost")
	flags.StringVar(&f.source, "source", "", "survivor that has the writes (default: the one that has most)")
	flags.StringSliceVar(&f.targets, "target", nil, "`a,b`: survivors to rescue (default: every one that lacks something)")
	flags.StringVar(&f.coordinator, "coordinator", "", "node on which the CALL runs (default: the target itself)")
	flags.StringArrayVar(&f.serverDSN, "server-dsn", nil, "`NAME=DSN`: how the servers reach a node, where that is not what their catalogs say")
	flags.BoolVar(&f.plan, "plan", false, "say what would be done, and change nothing")
	flags.BoolVar(&f.yes, "yes", false, "do it without asking")
	flags.BoolVar(&f.install, "install", false, "first put the recovery procedures where they are missing or old")
	flags.BoolVar(&f.fenced, "failed-is-fenced", false, "the failed node can take no writes any more, even if it answers")
	flags.DurationVar(&f.timeout, "timeout", time.Hour, "give up after this long; calling it again goes on")
	flags.StringVar(&f.output, "output", "text", "text or json")
	flags.BoolVarP(&f.say, "verbose", "v", false, "show every check and what the procedures say")
	c.RunE = func(c *cobra.Command, _ []string) error {
		o, err := f.options(c, a, nodes)
		if err != nil {
			return err
		}
		return a.recover(c, f, o)
	}
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

// options are what the flags say, or what is wrong with them.
func (f *recoverFlags) options(c *cobra.Command, a *App, nodes *nodeFlags) (rescue.Options, error) {
	o := rescue.Options{Failed: f.failed, Source: f.source, Targets: f.targets, Coordinator: f.coordinator, ServerDSN: map[string]string{}, Install: f.install, Fenced: f.fenced}
	switch {
	case f.failed == "":
		return o, errors.New("--failed names no node")
	case f.output != "text" && f.output != "json":
		return o, fmt.Errorf("--output %q is not known: text or json", f.output)
	case f.plan && f.yes:
		return o, errors.New("--plan changes nothing, --yes does: give one")
	case f.plan && f.install:
		return o, errors.New("--plan changes nothing, --install does: give one")
	case f.timeout <= 0:
		return o, fmt.Errorf("--timeout %s must be positive", f.timeout)
	case f.output == "json" && !f.plan && !f.yes:
		return o, errors.New("--output json asks nobody: give --plan or --yes")
	}
	for what, name := range map[string][]string{"source": {f.source}, "coordinator": {f.coordinator}, "target": f.targets} {
		if slices.Contains(name, f.failed) {
			return o, fmt.Errorf("--%s %s: that is the failed node", what, f.failed)
		}
	}
	for _, text := range f.serverDSN {
		n, err := attach.ParseNode(text)
		if err != nil {
			return o, fmt.Errorf("--server-dsn %w", err)
		}
		o.ServerDSN[n.Name] = n.DSN
	}
	all, described, err := nodes.read(c, a)
	if err != nil {
		return o, err
	}
	o.Maybe = described
	for _, n := range all {
		if n.Name == f.failed {
			o.FailedDSN = append(o.FailedDSN, n.DSN)
		} else {
			o.Survivors = append(o.Survivors, n)
		}
	}
	return o, nil
}

// recoverDoc is what --output json prints.
type recoverDoc struct {
	Status string         `json:"status"`
	Plan   rescue.Plan    `json:"plan"`
	Result *rescue.Result `json:"result"` // null: nothing was begun
}

func (a *App) recover(c *cobra.Command, f recoverFlags, o rescue.Options) error {
	ctx, cancel := context.WithTimeout(c.Context(), f.timeout)
	defer cancel()
	signals := a.watchSignals(ctx, a.Stderr, f.untouched())
	r, err := a.OpenRescue(signals.ctx, o)
	var p rescue.Plan
	if err == nil {
		defer r.Close()
		p, err = r.Plan(signals.ctx)
	}
	signals.stop() // at the question a signal ends the program as it ends any
	if err != nil {
		return ended(ctx, signals, err, f, "")
	}
	v := view{c.OutOrStdout(), f.say, f.output == "json"}
	if err := v.plan(p); err != nil {
		return err
	}
	if done, err := a.beforeRun(v, f, p); done || err != nil {
		return err
	}
	const again = "calling it again goes on where it was"
	signals = a.watchSignals(ctx, a.Stderr, "putting back what is suspended; "+again)
	defer signals.stop()
	res, err := r.Run(signals.ctx, p, v.report())
	if err != nil {
		return ended(ctx, signals, err, f, again)
	}
	if err := v.result(p, res); err != nil {
		return err
	}
	if !res.OK {
		return &exitError{ExitFindings, nil}
	}
	return nil
}

// beforeRun ends the command where the plan is not to be, or cannot be, carried out.
func (a *App) beforeRun(v view, f recoverFlags, p rescue.Plan) (done bool, err error) {
	blocked := len(p.Problems) > 0 || len(p.Alive) > 0
	switch {
	case p.Nothing():
		return true, v.end("nothing to do", p, nil, "nothing to do: "+nothing(p))
	case f.plan && blocked:
		return true, errors.Join(v.end("cannot be done", p, nil, "this cannot be done as it is; "+f.untouched()), &exitError{ExitFindings, nil})
	case f.plan:
		return true, v.end("planned", p, nil, "nothing was changed")
	case len(p.Alive) > 0:
		return true, errors.Join(v.end("refused", p, nil, ""), rescue.MayLive(p.Failed, p.Alive))
	case blocked:
		return true, errors.Join(v.end("cannot be done", p, nil, "this cannot be done as it is; "+f.untouched()), &exitError{ExitFindings, nil})
	case f.yes:
		return false, nil
	case !a.Interactive(a.Stdin):
		return true, errors.New(f.untouched() + ": --yes does it, --plan only says what (there is no terminal to ask at)")
	}
	fmt.Fprint(a.Stderr, `type "yes" to do this: `)
	answer, err := bufio.NewReader(a.Stdin).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return true, fmt.Errorf("reading the answer: %w", err)
	}
	if strings.TrimSpace(answer) != "yes" {
		return true, errors.New(f.untouched())
	}
	return false, nil
}

// nothing says why there is nothing to do.
func nothing(p rescue.Plan) string {
	if len(p.Stays) > 0 {
		return "no survivor that was named lacks anything"
	}
	var rescued []string
	for _, s := range p.Survivors {
		if s.Rescued != "" {
			rescued = append(rescued, s.Node+" was rescued ("+s.Rescued+")")
		}
	}
	return strings.Join(append([]string{p.Failed + " is gone from all survivors"}, rescued...), "; ")
}

// untouched is what can be said before anything was begun.
func (f recoverFlags) untouched() string {
	if f.install {
		return "nothing was changed but for the procedures"
	}
	return "nothing was changed"
}

// ended is the error of a command that a signal or its time limit ended, err if none did. again is what is to be said once the rescue has begun.
func ended(limited context.Context, signals *interrupts, err error, f recoverFlags, again string) error {
	says := again
	if again == "" {
		says = f.untouched()
	}
	// The rest of the error says what could not be put back.
	rest := strings.TrimSpace(strings.NewReplacer(context.Canceled.Error(), "", context.DeadlineExceeded.Error(), "").Replace(err.Error()))
	var usage *rescue.UsageError
	switch {
	case errors.As(err, &usage):
		return err
	case limited.Err() != nil && errors.Is(limited.Err(), context.DeadlineExceeded):
		err, code := fmt.Errorf("not done within %s; %s", f.timeout, says), ExitFindings
		if again == "" {
			code = ExitNotRun
		}
		return &exitError{code, err}
	case signals.ctx.Err() != nil && strings.HasPrefix(rest, "its subscriptions"):
		return &exitError{ExitInterrupted, fmt.Errorf("interrupted; %s\n%s", says, rest)}
	case signals.ctx.Err() != nil:
		return &exitError{ExitInterrupted, fmt.Errorf("interrupted; %s", says)}
	case again != "":
		return &exitError{ExitFindings, fmt.Errorf("%w; %s", err, again)}
	}
	return err
}
