package chaos

import (
	"bufio"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/spockchaos/spockchaos/checker/rundir"
)

// BenchmarkRun runs one full round at the default rate and one unthrottled, and reports what each costs beside its 20
// seconds of chaos, and the most memory that the harness (this process, without the servers) has had resident so far.
func BenchmarkRun(b *testing.B) {
	for name, rate := range map[string]float64{"500": 500, "unthrottled": 0} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				benchRound(b, rate)
			}
		})
	}
}

func benchRound(b *testing.B, rate float64) {
	cfg := testConfig(b)
	cfg.Rate, cfg.Chaos, cfg.Seed = rate, 20*time.Second, 16
	if err := Run(context.Background(), cfg, testDeps(b, zap.ErrorLevel)); err != nil {
		b.Fatal(err)
	}
	var r rundir.Round
	if err := rundir.ReadJSON(filepath.Join(rundir.RoundDir(cfg.Dir, 1), rundir.RoundFile), &r); err != nil {
		b.Fatal(err)
	}
	last := r.Phases[len(r.Phases)-1]
	b.ReportMetric((last.End.Sub(r.Phases[0].Start) - cfg.Chaos).Seconds(), "s-beside-chaos")
	b.ReportMetric(float64(checkRound(b, cfg.Dir, 1).Operations.OK), "acknowledged")
	b.ReportMetric(peakResident(b), "peak-resident-MB")
}

// peakResident reads VmHWM, in MB.
func peakResident(b *testing.B) float64 {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if rest, ok := strings.CutPrefix(s.Text(), "VmHWM:"); ok {
			kb, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			if err != nil {
				b.Fatal(err)
			}
			return kb / 1024
		}
	}
	b.Fatal("/proc/self/status has no VmHWM")
	return 0
}
