package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/spockchaos/spockchaos/chaos"
	"github.com/spockchaos/spockchaos/checker"
	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/cmd/config"
	"github.com/spockchaos/spockchaos/reports"
)

// managerPeriod is how often each node's recovery slot is advanced.
const managerPeriod = time.Second

func (a *App) runCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "run",
		Short: "Bring up a cluster, break it, rescue it, and judge what became of every write",
		Args:  noArgs,
		Example: `  spockchaos run --duration 2m
  spockchaos run --duration 30m --seed 42 --report-dir out/
  spockchaos run --faults partition,kill
  spockchaos run --faults -pause --recovery-sql my_recovery.sql`,
	}
	set := config.New(c.Flags(), a.names())
	file := configFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := a.load(set, *file); err != nil {
			return err
		}
		rep, err := a.run(c.Context(), set, "")
		if err != nil {
			return err
		}
		return verdictError(rep.Verdict)
	}
	a.complete(c)
	return c
}

// run makes one run of the settings, judges it and prints the verdict.
func (a *App) run(ctx context.Context, set *config.Set, replay string) (*reports.Report, error) {
	s := &set.Settings
	if !s.Seed.Given {
		s.Seed = config.Seed{Value: a.RandomSeed(), Given: true}
	}
	dir := s.ReportDir
	if dir == "" {
		dir = defaultRunDir(a.Clock(), s.Seed.Value)
	}
	if err := checkRunDir(dir); err != nil {
		return nil, err
	}
	out := a.newOutput(*s)
	defer out.close()
	signals := a.watchSignals(ctx, out.notice, "healing, stopping the cluster, checking what there is")
	defer signals.stop()

	// What was run is judged even after the first signal: only ctx itself ends that.
	judge := &judge{app: a, dir: dir, log: out.log}
	deps := chaos.Deps{
		Log: out.log, Clock: a.Clock, Version: a.Version,
		WatchdogCommand: []string{a.Executable, "watchdog"}, Executable: a.Executable, Environ: a.Environ,
		Begun: func() error {
			if _, err := fmt.Fprintf(a.Stdout, "seed %d\n", s.Seed.Value); err != nil {
				return fmt.Errorf("writing to standard output: %w", err)
			}
			return nil
		},
		RoundDone: func(_ context.Context, number int) { judge.round(ctx, number) },
	}
	if out.screen != nil {
		deps.Status = out.screen.Show
	}
	runErr := a.Run(signals.ctx, chaosConfig(set, dir, replay), deps)
	if err := nothingRun(signals.ctx, dir, runErr); err != nil {
		return nil, err
	}
	rep, err := judge.all(ctx)
	out.close()
	if err != nil {
		if runErr != nil {
			return nil, fmt.Errorf("the run ended early: %w (and it cannot be judged: %w)", runErr, err)
		}
		return nil, err
	}
	a.printVerdict(dir, rep)
	if runErr != nil {
		code := ExitNotRun
		if rep.Verdict == checker.FailVerdict {
			code = ExitFindings
		}
		return nil, &exitError{code, fmt.Errorf("the run ended early: %w", runErr)}
	}
	return rep, nil
}

// nothingRun is the error of a run that left nothing to judge, nil if it left something.
func nothingRun(ctx context.Context, dir string, runErr error) error {
	var usage *chaos.UsageError
	if errors.As(runErr, &usage) {
		return usage
	}
	if _, err := os.Stat(filepath.Join(dir, rundir.RunFile)); err == nil {
		return nil
	}
	switch {
	case ctx.Err() != nil:
		return errors.New("interrupted before the first round: there is nothing to judge")
	case runErr == nil:
		return fmt.Errorf("the run left no %s in %s", rundir.RunFile, dir)
	}
	return runErr
}

// verdictError is the exit status of a verdict as an error, nil for a pass.
func verdictError(v checker.Verdict) error {
	switch v {
	case checker.Pass:
		return nil
	case checker.FailVerdict:
		return &exitError{ExitFindings, nil}
	}
	return &exitError{ExitInconclusive, nil}
}

func chaosConfig(set *config.Set, dir, replay string) chaos.Config {
	s := set.Settings
	return chaos.Config{
		Duration: s.Duration, Seed: s.Seed.Value, Nodes: s.Nodes, Engine: s.Engine, Topology: s.Topology,
		PGBin: s.PGBin, PGVer: s.PGVer, Image: s.Image, VolumeSize: s.VolumeSize,
		ComposeFile: s.ComposeFile, AllowUserTables: s.AllowUserTables, Workloads: s.Workloads, Sessions: s.Sessions, Rate: s.Rate,
		Faults: s.Faults, Implied: s.Implied, Chaos: s.Chaos, Rounds: s.Rounds, RecoverySQL: s.RecoverySQL, Tracking: s.Tracking, Rescue: s.Rescue,
		Dir: dir, Keep: s.Keep,
		ManagerPeriod: managerPeriod, Replay: replay, Effective: set.Effective(),
	}
}

// judge checks a run directory and keeps its reports up to date.
type judge struct {
	app *App
	dir string
	log *zap.Logger
}

// round saves a report of what there is and then checks the round that was just
// completed, so that a finding is seen at once. Nothing here ends the run: the check
// at the end is the one that counts.
func (j *judge) round(ctx context.Context, number int) {
	rep, err := reports.Build(j.dir, nil)
	if err == nil {
		err = reports.SaveInterim(j.dir, rep)
	}
	if err != nil {
		j.log.Error("saving the report before the check", zap.Error(err))
	}
	result, err := j.app.CheckRound(ctx, j.dir, number)
	if err != nil {
		j.log.Error("checking a round", zap.Int("round", number), zap.Error(err))
		return
	}
	fields := []zap.Field{zap.Int("round", number), zap.String("verdict", string(result.Verdict)),
		zap.Int64("ok", result.Operations.OK), zap.Int64("rpo_writes", result.RPO.Writes)}
	if len(result.Findings) > 0 {
		first := result.Findings[0]
		fields = append(fields, zap.Int("findings", len(result.Findings)), zap.String("first", fmt.Sprintf("%s %s %s", first.Kind, first.Node, first.Key)))
		j.log.Warn("round judged", fields...)
		return
	}
	j.log.Info("round judged", fields...)
}

// all saves the report, checks every round and saves the report again.
func (j *judge) all(ctx context.Context) (*reports.Report, error) {
	if err := reports.Write(j.dir, nil); err != nil {
		return nil, fmt.Errorf("saving the report before the check: %w", err)
	}
	result, err := j.app.Check(ctx, j.dir)
	if err != nil {
		return nil, fmt.Errorf("checking %s: %w", j.dir, err)
	}
	rep, err := reports.Build(j.dir, &result)
	if err == nil {
		err = reports.Save(j.dir, rep)
	}
	if err != nil {
		return nil, fmt.Errorf("saving the report: %w", err)
	}
	return rep, nil
}
