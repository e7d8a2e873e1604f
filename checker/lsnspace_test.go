package checker

import (
	"strings"
	"testing"

	"github.com/spockchaos/spockchaos/checker/rundir"
)

// spread is a sample of a node whose WAL lies apart from the others': n1's is 7000 to 7900, n2's 3000 to 3900, n3's 5000 to 5900.
func spread(node string, seconds float64, position rundir.LSN, origins ...rundir.Origin) rundir.Sample {
	end := map[string]rundir.LSN{"n1": 7900, "n2": 3900, "n3": 5900}[node]
	s := sampleAt(node, seconds, position)
	s.InsertLSN, s.FlushLSN, s.WALBytes, s.Origins = end, end, 900, origins
	return s
}

func remote(from string, lsn rundir.LSN) rundir.Origin { return rundir.Origin{Node: from, Remote: lsn} }

// TestForeignLSN describes what nodes showed before n2's slot was seen at a position, and what is to be said of that.
func TestForeignLSN(t *testing.T) {
	others := func(w *world) {
		w.sample(spread("n1", 4, 7500, remote("n2", 3500), remote("n3", 5500)), spread("n3", 4, 5500, remote("n1", 7300), remote("n2", 3400)))
	}
	for _, c := range []struct {
		name     string
		position rundir.LSN
		build    func(w *world)
		want     string // "" is nothing
	}{
		{"in its own WAL", 3500, others, ""},
		{"at the end of its own WAL", 3900, others, ""},
		{"in its own WAL, and by chance what a peer has of another", 3500, func(w *world) { w.sample(spread("n3", 4, 5500, remote("n1", 3500))) }, ""},
		{"no slot position", 0, others, ""},
		{"what a peer has of the lost node", 7300, others, "0/1C84 is a position in n1's WAL and none in n2's (at most from 0/BB8 to 0/F3C): it is exactly n3's progress for n1 (remote_lsn) of 03:04:09.000"},
		{"what the node itself has of another", 5300, func(w *world) {
			others(w)
			w.sample(spread("n2", 4.5, 3500, remote("n3", 5300)))
		}, "none in n2's (at most from 0/BB8 to 0/F3C): it is exactly n2's progress for n3"},
		{"the latest of several", 7300, func(w *world) {
			others(w)
			w.sample(spread("n2", 4.5, 3500, remote("n1", 7300)))
		}, "exactly n2's progress for n1 (remote_lsn) of 03:04:09.500"},
		{"what a peer has of the node itself", 4500, func(w *world) { w.sample(spread("n3", 4, 5500, remote("n2", 4500))) }, "0/1194 is no position in n2's WAL (at most from 0/BB8 to 0/F3C)"},
		{"what a peer had only later", 8300, func(w *world) {
			others(w)
			w.sample(spread("n3", 8, 5500, remote("n1", 8300)))
		}, "0/206C is no position in n2's WAL"},
		{"somewhere in another's WAL", 7555, others, "0/1D83 lies in n1's WAL and not in n2's"},
		{"in what a peer has of another that did not show it itself", 7950, func(w *world) {
			others(w)
			w.sample(spread("n3", 4.2, 5500, remote("n1", 7999)))
		}, "0/1F0E lies in n1's WAL and not in n2's"},
		{"where two others' WAL may be", 7555, func(w *world) {
			others(w)
			w.sample(change(spread("n3", 4.2, 5500), func(s *rundir.Sample) { s.FlushLSN = 8000 }))
		}, "0/1D83 is no position in n2's WAL"},
		{"before its own WAL, in nobody else's", 2000, others, ""},
		{"before its own WAL, what a peer has of another", 2000, func(w *world) { w.sample(spread("n3", 4, 5500, remote("n1", 2000))) }, "exactly n3's progress for n1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			c.build(w)
			s := spread("n2", 5, c.position)
			w.sample(s)
			in, err := load(w.run, w.write(), 1)
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if f := foreign(in, "n2", &s, c.position); f != nil {
				got = f.String()
			}
			if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
	t.Run("unknown beginning", func(t *testing.T) {
		w := newWorld(t)
		w.sample(spread("n3", 4, 5500, remote("n1", 2000)))
		s := spread("n2", 5, 2000)
		s.WALBytes = 0
		in, err := load(w.run, w.write(), 1)
		if err != nil {
			t.Fatal(err)
		}
		if f := foreign(in, "n2", &s, 2000); f != nil {
			t.Errorf("%s, though its WAL may begin before that", f)
		}
	})
	t.Run("given up", func(t *testing.T) {
		w := newWorld(t)
		others(w)
		w.sample(change(spread("n1", 4, 7500), func(s *rundir.Sample) { s.InsertLSN, s.FlushLSN, s.WALBytes = 2500, 2500, 900 }))
		s := spread("n2", 5, 2000)
		s.Slot.WALStatus = "lost"
		in, err := load(w.run, w.write(), 1)
		if err != nil {
			t.Fatal(err)
		}
		if f := foreign(in, "n2", &s, 2000); f != nil {
			t.Errorf("%s, though WAL of a slot that was given up is gone", f)
		}
	})
}

// TestForeignLSNInFindings looks for the sentence in each kind of finding about a position.
func TestForeignLSNInFindings(t *testing.T) {
	for _, c := range []struct {
		kind    Kind
		samples []rundir.Sample
	}{
		{SlotOverran, []rundir.Sample{spread("n2", 5, 3500), spread("n2", 6, 7300)}},
		{SlotRegressed, []rundir.Sample{spread("n2", 5, 3500), spread("n2", 6, 1300)}},
		{SlotStalled, []rundir.Sample{spread("n2", 40.5, 1300), spread("n2", 43, 1300)}},
	} {
		w := newWorld(t)
		w.sample(spread("n3", 4, 5500, remote("n1", 7300)), spread("n3", 4.1, 5500, remote("n1", 1300)))
		w.sample(c.samples...)
		told := false
		for _, f := range w.check().Findings {
			first := f.Evidence["first"].([]map[string]any)[0]
			if f.Kind == c.kind && f.Node == "n2" {
				told = strings.Contains(f.Summary, "n3's progress for n1") && first["foreign_lsn"] != nil
				t.Log(f.Summary)
			}
		}
		if !told {
			t.Errorf("no %s tells whose position it is", c.kind)
		}
	}
}

func TestSlotKeepsNothing(t *testing.T) {
	for want, slot := range map[string]rundir.Slot{
		"the recovery slot spk_recovery_chaos on n2 keeps no WAL: its restart_lsn is null":                                                                            {Confirmed: 5},
		"its restart_lsn and confirmed_flush_lsn are null, it has no output plugin by which anything could be decoded, and a process of the server holds it (active)": {NoPlugin: true, Active: true},
	} {
		slot.Name = "spk_recovery_chaos"
		w := newWorld(t)
		w.sample(change(sampleAt("n2", 5, 1), func(s *rundir.Sample) { s.Slot = &slot }))
		f := w.check().Findings
		if len(f) != 1 || f[0].Kind != SlotMissing || !strings.HasSuffix(f[0].Summary, want) {
			t.Errorf("%+v, want %q", f, want)
		}
	}
}
