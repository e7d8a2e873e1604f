package workload

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/spockchaos/spockchaos/topology/local/localtest"
	"github.com/spockchaos/spockchaos/workload/history"
)

const (
	benchSessions = 12
	benchSlice    = time.Second // of each side, in turn
	benchSlices   = 7
)

// BenchmarkLedgerVsPgbench measures acknowledged operations a second of the ledger
// workload, history included, and of pgbench -M prepared with the same statement and as
// many connections (two threads), in turn, on the same server through the same link.
// ratio is ours divided by pgbench's, the median over neighbouring slices, because the
// machine's speed wanders. mixed is the same for ledger as a run has it, where an
// operation may be a transaction of up to 50 statements.
func BenchmarkLedgerVsPgbench(b *testing.B) {
	s := startServer(b)
	w := Describe(1, []string{"n1"}, Config{Sessions: benchSessions, Workloads: []string{Ledger}})
	setup(b, s, w)
	for b.Loop() {
		var ratios, mixed, ours, theirs []float64
		for range benchSlices {
			before := s.pgbench(b)
			plain := s.ours(b, w, true)
			after := s.pgbench(b)
			pg := (before + after) / 2
			ratios, ours, theirs = append(ratios, plain/pg), append(ours, plain), append(theirs, pg)
			mixed = append(mixed, s.ours(b, w, false)/after)
		}
		b.ReportMetric(median(ratios), "ratio")
		b.ReportMetric(median(mixed), "mixed")
		b.ReportMetric(median(ours), "ops/s")
		b.ReportMetric(median(theirs), "pgbench/s")
	}
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

func (s *server) ours(b *testing.B, w history.Workload, plain bool) float64 {
	if _, err := s.connect().Exec(b.Context(), "truncate chaos.ledger, chaos.event"); err != nil {
		b.Fatal(err)
	}
	r := s.run(w, Config{plainLedger: plain, HeavyMax: -1})
	await(b, "connections", func() bool { return r.stats.Snapshot().OK > 10*benchSessions })
	from, at := r.stats.Snapshot().OK, time.Now()
	time.Sleep(benchSlice) // the measurement itself
	n, took := r.stats.Snapshot().OK-from, time.Since(at)
	r.stop()
	return float64(n) / took.Seconds()
}

var tps = regexp.MustCompile(`tps = ([0-9.]+) \(without initial`)

func (s *server) pgbench(b *testing.B) float64 {
	if _, err := s.connect().Exec(b.Context(), "truncate chaos.ledger, chaos.event"); err != nil {
		b.Fatal(err)
	}
	script := filepath.Join(b.TempDir(), "ledger.pgbench")
	text := "\\set s :client_id + 1\n\\set n :n + 1\ninsert into chaos.ledger (session, n, value) values (:s, :n, :n);\n"
	if err := os.WriteFile(script, []byte(text), 0o644); err != nil {
		b.Fatal(err)
	}
	pgbench := filepath.Join(localtest.BinDir(b), "pgbench")
	c := exec.CommandContext(b.Context(), pgbench, "-n", "-M", "prepared", "-f", script, "-D", "n=0",
		"-c", strconv.Itoa(benchSessions), "-j", "2", "-T", fmt.Sprint(int(benchSlice/time.Second)), s.linkDSN())
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.Output()
	m := tps.FindSubmatch(out)
	if err != nil || m == nil {
		b.Fatalf("pgbench: %v\n%s%s", err, out, stderr.Bytes())
	}
	v, err := strconv.ParseFloat(string(m[1]), 64)
	if err != nil {
		b.Fatal(err)
	}
	return v
}
