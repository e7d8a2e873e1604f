package main

import (
	"context"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/term"

	"github.com/spockchaos/spockchaos/chaos"
	"github.com/spockchaos/spockchaos/chaos/fault"
	"github.com/spockchaos/spockchaos/chaos/rescue"
	"github.com/spockchaos/spockchaos/chaos/scenario"
	"github.com/spockchaos/spockchaos/checker"
	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/cmd/cli"
	"github.com/spockchaos/spockchaos/topology/clean"
	"github.com/spockchaos/spockchaos/topology/docker"
	"github.com/spockchaos/spockchaos/topology/docker/drop"
	"github.com/spockchaos/spockchaos/topology/engine/engines"
	"github.com/spockchaos/spockchaos/topology/local"
	"github.com/spockchaos/spockchaos/topology/mesh"
	"github.com/spockchaos/spockchaos/topology/watchdog"
	"github.com/spockchaos/spockchaos/workload"
	"github.com/spockchaos/spockchaos/workload/history"
)

// version is set by the linker (-X main.version=…); without it the Go toolchain's record counts.
var version string

// app joins the commands with the parts of the program that do the work.
func app() *cli.App {
	if version == "" {
		version = cli.BuildVersion()
	}
	executable, err := os.Executable()
	if err != nil {
		executable = os.Args[0]
	}
	return &cli.App{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Environ: os.Environ(),
		Clock: time.Now,
		// 32 bits: enough seeds, and short enough to type.
		RandomSeed: func() uint64 { return uint64(rand.Uint32()) },
		Executable: executable, Version: version,
		Run: chaos.Run, Check: checker.Check, CheckRound: checkRound, History: history.DumpJSON, Watchdog: watch,
		TestRecovery: scenario.Run, Engine: engines.ByName, Setup: mesh.Setup, TestMesh: mesh.Check, Clean: cleanUp, DropPackets: drop.Main,
		OpenRescue: openRescue, Manage: chaos.Manage,
		Faults: faults(), Workloads: workloads(),
		Engines: listEngines(),
		Topologies: []cli.Item{
			{Name: "local", Summary: "PostgreSQL processes on this machine"},
			{Name: "docker", Summary: "containers: a network, a container and a volume for each node"},
			{Name: "compose", Summary: "the containers that docker compose made of a file of generate's"},
		},
		Terminal: terminal, Interactive: interactive, Notify: notify, Exit: os.Exit,
	}
}

func listEngines() []cli.Item {
	items := []cli.Item{{Name: engines.Auto, Summary: "spock where the installation has it, else pglogical"}}
	for _, e := range engines.All() {
		items = append(items, cli.Item{Name: e.Name(), Summary: e.Summary})
	}
	return items
}

// watch is the watchdog of every kind of cluster.
func watch(stdin io.Reader) int {
	return watchdog.Main(stdin, watchdog.Ends{local.WatchdogEnd: local.Destroy, docker.WatchdogEnd: docker.Destroy, docker.LentEnd: docker.Release})
}

func cleanUp(ctx context.Context, opts clean.Options, out io.Writer) error {
	opts.Connect = docker.Connect
	return clean.Run(ctx, opts, out)
}

func checkRound(ctx context.Context, dir string, number int) (checker.RoundResult, error) {
	d, err := rundir.Open(dir)
	if err != nil {
		return checker.RoundResult{}, err
	}
	return checker.CheckRound(ctx, d.Run, dir, number)
}

// faults are those that can be chosen: the loss of a node belongs to the round.
func faults() []cli.Item {
	var items []cli.Item
	for _, name := range fault.Drawable() {
		if f, ok := fault.ByName(name); ok {
			items = append(items, cli.Item{Name: name, Summary: f.Describe(), OptIn: f.With() != "", With: f.With()})
		}
	}
	return items
}

func workloads() []cli.Item {
	var items []cli.Item
	for _, k := range workload.Descriptions() {
		items = append(items, cli.Item{Name: k.Name, Summary: k.Text, OptIn: k.OptIn})
	}
	return items
}

func terminal(w io.Writer) (size func() (width, height int), ok bool) {
	f, isFile := w.(*os.File)
	if !isFile || !term.IsTerminal(int(f.Fd())) {
		return nil, false
	}
	return func() (int, int) {
		width, height, err := term.GetSize(int(f.Fd()))
		if err != nil || width <= 0 || height <= 0 {
			return 80, 24
		}
		return width, height
	}, true
}

func interactive(r io.Reader) bool {
	f, isFile := r.(*os.File)
	return isFile && term.IsTerminal(int(f.Fd()))
}

func openRescue(ctx context.Context, o rescue.Options) (cli.Rescuer, error) {
	r, err := rescue.Open(ctx, o)
	if err != nil {
		return nil, err // not a Rescuer that holds nil
	}
	return r, nil
}

func notify(c chan<- os.Signal) (stop func()) {
	signal.Notify(c, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	return func() { signal.Stop(c) }
}
