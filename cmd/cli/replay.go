package cli

import (
	"fmt"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/spockchaos/spockchaos/checker"
	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/cmd/config"
	"github.com/spockchaos/spockchaos/reports"
)

// A replay takes its settings from the run, but for those that say how this one is shown and kept.
var (
	ownOfReplay     = []string{"report-dir", "keep", "log-format", "quiet", "verbose"}
	offeredToReplay = append([]string{"pg-bin", "pg-ver", "recovery-sql", "compose-file", "allow-user-tables"}, ownOfReplay...)
)

// maxTimes bounds --times.
const maxTimes = 1000

func (a *App) replayCommand() *cobra.Command {
	times := 1
	c := &cobra.Command{
		Use:   "replay DIR",
		Short: "Run the schedule of a saved run again",
		Long: `Runs the schedule of the run in DIR again, with its seed and settings, and says which of its
findings came back. PostgreSQL's own timing is not controlled: --times shows how often they do.`,
		Args: oneDir,
	}
	set := config.New(c.Flags(), a.names(), offeredToReplay...)
	c.Flags().IntVar(&times, "times", times, "how often to run it, 1 to 1000")
	c.RunE = func(c *cobra.Command, args []string) error {
		if times < 1 || times > maxTimes {
			return fmt.Errorf("--times %d must be from 1 to %d", times, maxTimes)
		}
		original, err := rundir.Open(args[0])
		if err != nil {
			return err
		}
		if err := a.loadRun(set, original); err != nil {
			return err
		}
		return a.replay(c, set, original, times)
	}
	a.complete(c)
	return c
}

// loadRun fills set from the environment and then from the run.
func (a *App) loadRun(set *config.Set, original *rundir.Dir) error {
	// Variables are for runs as well: those that a replay does not take are no mistake here.
	if _, err := set.Load(a.Environ, ""); err != nil {
		return err
	}
	where := filepath.Join(original.Path, rundir.RunFile)
	if err := set.LoadRun(where, original.Run.Config, append([]string{"seed"}, ownOfReplay...)...); err != nil {
		return err
	}
	set.Seed = config.Seed{Value: original.Run.Seed, Given: true}
	if err := a.settleCompose(set); err != nil {
		return err
	}
	return set.CheckFiles()
}

// replay makes the runs and reports the worst verdict: findings, then inconclusive, then pass.
func (a *App) replay(c *cobra.Command, set *config.Set, original *rundir.Dir, times int) error {
	before := recordedKinds(original.Path)
	base := set.ReportDir
	if base == "" {
		base = defaultRunDir(a.Clock(), set.Seed.Value) + "-replay"
	}
	if err := checkRunDir(base); err != nil {
		return err
	}
	came := map[checker.Kind]int{}
	worst := checker.Pass
	done := 0
	for i := range times {
		set.ReportDir = base
		if times > 1 {
			set.ReportDir = filepath.Join(base, fmt.Sprintf("%03d", i+1))
		}
		rep, err := a.run(c.Context(), set, original.Path)
		if err != nil {
			return err
		}
		done++
		for kind := range kindsOf(rep) {
			came[kind]++
		}
		worst = worse(worst, rep.Verdict)
		if rep.Interrupted {
			break
		}
	}
	for _, kind := range before {
		fmt.Fprintf(a.Stdout, "  came back   %s: %d of %d\n", kind, came[kind], done)
	}
	return verdictError(worst)
}

func worse(a, b checker.Verdict) checker.Verdict {
	for _, v := range []checker.Verdict{checker.FailVerdict, checker.Inconclusive} {
		if a == v || b == v {
			return v
		}
	}
	return checker.Pass
}

func kindsOf(rep *reports.Report) map[checker.Kind]bool {
	kinds := map[checker.Kind]bool{}
	for _, f := range rep.Findings {
		kinds[f.Kind] = true
	}
	return kinds
}

// recordedKinds are the kinds of findings in a run's saved report, none if it has no readable one.
func recordedKinds(dir string) []checker.Kind {
	var rep reports.Report
	if err := rundir.ReadJSON(filepath.Join(dir, rundir.ReportJSON), &rep); err != nil {
		return nil
	}
	var list []checker.Kind
	for kind := range kindsOf(&rep) {
		list = append(list, kind)
	}
	slices.Sort(list)
	return list
}
