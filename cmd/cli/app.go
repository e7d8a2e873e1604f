package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/spockchaos/spockchaos/chaos"
	"github.com/spockchaos/spockchaos/chaos/rescue"
	"github.com/spockchaos/spockchaos/chaos/scenario"
	"github.com/spockchaos/spockchaos/checker"
	"github.com/spockchaos/spockchaos/cmd/config"
	"github.com/spockchaos/spockchaos/topology/clean"
	"github.com/spockchaos/spockchaos/topology/engine"
	"github.com/spockchaos/spockchaos/topology/mesh"
)

// Exit statuses.
const (
	ExitPass         = 0
	ExitFindings     = 1
	ExitNotRun       = 2 // wrong use, or something that kept the run or the check from being made
	ExitInconclusive = 3
	ExitInterrupted  = 130 // stopped at once by a second signal
)

// Item is something that can be named on the command line.
type Item struct {
	Name, Summary string
	OptIn         bool   // "all" does not mean it
	With          string // the workload beside which all means it nevertheless, of a fault
}

// App is the program with what it needs from outside.
type App struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Environ        []string
	Clock          func() time.Time
	// RandomSeed draws a seed where none is given.
	RandomSeed func() uint64
	// Executable is the path of this program, for the watchdog that a run starts.
	Executable string
	Version    string

	Run        func(context.Context, chaos.Config, chaos.Deps) error
	Check      func(ctx context.Context, dir string) (checker.Result, error)
	CheckRound func(ctx context.Context, dir string, number int) (checker.RoundResult, error)
	Watchdog   func(in io.Reader) (exitStatus int)
	History    func(w io.Writer, path string) error
	// TestRecovery tells each step when it is done.
	TestRecovery func(context.Context, scenario.Config, chaos.Deps, func(scenario.Step)) (scenario.Result, error)

	Clean func(context.Context, clean.Options, io.Writer) error
	// DropPackets is drop.Main.
	DropPackets func(ctx context.Context, arg string, stdout io.Writer) error

	// Engine by its name.
	Engine func(name string) (engine.Engine, error)
	// Setup makes nodes a mesh and tells each step when it is done; TestMesh looks whether they are one.
	Setup    func(context.Context, mesh.Cluster, func(mesh.Step)) error
	TestMesh func(context.Context, mesh.Cluster, mesh.Options, func(mesh.Result)) (ok bool, err error)

	// OpenRescue connects to the survivors of a lost node; Manage runs managers until ctx is done.
	OpenRescue func(context.Context, rescue.Options) (Rescuer, error)
	Manage     func(context.Context, chaos.Managing) error

	Faults, Workloads, Engines, Topologies []Item

	// Terminal says whether w is a terminal, and how large.
	Terminal func(w io.Writer) (size func() (width, height int), ok bool)
	// Interactive says whether somebody can be asked at r.
	Interactive func(r io.Reader) bool
	// Notify delivers SIGINT, SIGTERM and SIGHUP until stop is called.
	Notify func(c chan<- os.Signal) (stop func())
	// Exit ends the process at once.
	Exit func(code int)
}

// exitError carries an exit status; a nil err has been reported already.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.code)
	}
	return e.err.Error()
}
func (e *exitError) Unwrap() error { return e.err }

// Main runs a command and returns the exit status. It is the only place that
// prints errors.
func (a *App) Main(ctx context.Context, args []string) (code int) {
	defer func() {
		if p := recover(); p != nil {
			fmt.Fprintf(a.Stderr, "spockchaos: internal error: %v\n", p)
			fmt.Fprintf(a.Stderr, "%s", debug.Stack())
			code = ExitNotRun
		}
	}()
	root := a.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return ExitPass
	}
	var exit *exitError
	if !errors.As(err, &exit) {
		exit = &exitError{ExitNotRun, err}
	}
	if exit.err != nil {
		fmt.Fprintf(a.Stderr, "spockchaos: %s\n", lines(exit.err.Error(), 3))
	}
	return exit.code
}

// lines keeps at most n lines of a message.
func lines(s string, n int) string {
	s = strings.TrimSpace(s)
	all := strings.Split(s, "\n")
	if len(all) > n {
		all = append(all[:n-1], fmt.Sprintf("… and %d lines more", len(all)-n+1))
	}
	return strings.Join(all, "\n")
}

func (a *App) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "spockchaos",
		Short: "Does a rescue bring back every write that a survivor has?",
		Long: `spockchaos brings up a multi-master PostgreSQL cluster, writes to it through links
that it breaks, loses a node, runs the rescue, and proves from the recorded history
whether anything was lost, doubled, invented or reordered.

Exit status: 0 pass, 1 findings, 2 could not run, 3 inconclusive.`,
		SilenceErrors: true, SilenceUsage: true,
		Args: noArgs,
		// Runnable, so that a wrong command name is an error and no help text.
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SuggestionsMinimumDistance = 2
	root.SetIn(a.Stdin)
	root.SetOut(a.Stdout)
	root.SetErr(a.Stderr)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return fmt.Errorf("%w; see `%s --help`", err, c.CommandPath())
	})
	root.AddCommand(a.runCommand(), a.checkCommand(), a.replayCommand(), a.faultsCommand(), a.workloadsCommand(),
		a.historyCommand(), a.testRecoveryCommand(), a.recoverCommand(), a.managerCommand(), a.generateCommand(), a.setupCommand(), a.testCommand(), a.configCommand(), a.cleanCommand(), a.proxyCommand(), a.versionCommand(), a.watchdogCommand(),
		a.dropPacketsCommand())
	root.SetHelpCommand(helpCommand())
	return root
}

// helpCommand is cobra's, except that asking for help on nothing known is an error.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [command]",
		Short: "Help about a command",
		RunE: func(c *cobra.Command, args []string) error {
			found, rest, err := c.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return fmt.Errorf("unknown command %q; see `spockchaos --help`", strings.Join(args, " "))
			}
			return found.Help()
		},
	}
}

func noArgs(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if !c.HasParent() {
		hint := ""
		if near := c.SuggestionsFor(args[0]); len(near) > 0 {
			hint = fmt.Sprintf(" (%s?)", near[0])
		}
		return fmt.Errorf("unknown command %q%s; see `spockchaos --help`", args[0], hint)
	}
	return fmt.Errorf("%q: %s takes no arguments; see `%s --help`", args[0], c.CommandPath(), c.CommandPath())
}

// oneDir is the argument of commands that work on a run directory.
func oneDir(c *cobra.Command, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("%s needs one run directory, not %d arguments; see `%s --help`", c.CommandPath(), len(args), c.CommandPath())
	}
	return nil
}

func (a *App) names() config.Names {
	return config.Names{
		Faults: itemNames(a.Faults), Workloads: itemNames(a.Workloads),
		Engines: itemNames(a.Engines), Topologies: itemNames(a.Topologies),
		OptIn: itemNames(slices.DeleteFunc(slices.Concat(a.Faults, a.Workloads), func(it Item) bool { return !it.OptIn })),
		With:  withWorkload(a.Faults),
	}
}

// withWorkload are the items that go with a workload, by name.
func withWorkload(items []Item) map[string]string {
	with := map[string]string{}
	for _, it := range items {
		if it.With != "" {
			with[it.Name] = it.With
		}
	}
	return with
}

func itemNames(items []Item) []string {
	names := make([]string, len(items))
	for i, it := range items {
		names[i] = it.Name
	}
	return names
}
