package config

import (
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func testNames() Names {
	return Names{Faults: []string{"partition", "kill", "pause"}, Workloads: []string{"ledger", "bank"}, Engines: []string{"auto", "pglogical"}, Topologies: []string{"local", "docker"}}
}

func newSet() (*Set, *pflag.FlagSet) {
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	fs.SetOutput(io.Discard)
	return New(fs, testNames()), fs
}

func TestResolveNames(t *testing.T) {
	for _, c := range []struct{ in, want, wrong string }{
		{"kill", "kill", ""},
		{"pause,partition", "partition pause", ""},
		{" kill , pause ", "kill pause", ""},
		{"-kill", "partition pause", ""},
		{"-kill,-pause", "partition", ""},
		{"kill,-pause", "kill", ""},
		{"-pause,kill,pause", "kill", ""},
		{"all", "partition kill pause", ""},
		{"all,-kill", "partition pause", ""},
		{"kill,kill", "kill", ""},
		{"", "", "empty name"},
		{"-", "", `no fault ""`},
		{"-all", "", `no fault "all"`},
		{"Kill", "", `no fault "Kill"`},
		{"-partition,-kill,-pause", "", "leaves no fault"},
	} {
		got, err := ResolveNames(c.in, "fault", testNames().Faults, true)
		if strings.Join(got, " ") != c.want || (err == nil) != (c.wrong == "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
			t.Errorf("%q: got %q, %v; want %q, %q", c.in, got, err, c.want, c.wrong)
		}
	}
}

// A name that is opt-in is known, and is taken only when it is named.
func TestOptInNames(t *testing.T) {
	known := []string{"ledger", "clash", "bank"}
	for _, c := range []struct{ in, want string }{
		{"all", "ledger bank"}, {"clash", "clash"}, {"all,clash", "ledger clash bank"}, {"clash,all", "ledger clash bank"}, {"bank,clash", "clash bank"},
	} {
		if got, err := ResolveNames(c.in, "workload", known, false, "clash"); err != nil || strings.Join(got, " ") != c.want {
			t.Errorf("%q: got %q, %v; want %q", c.in, got, err, c.want)
		}
	}
	if got, err := ResolveNames("-bank", "workload", known, true, "clash"); err != nil || strings.Join(got, " ") != "ledger" {
		t.Errorf("-bank: %q, %v", got, err)
	}
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	s := New(fs, Names{Workloads: known, OptIn: []string{"clash"}, Faults: []string{"kill"}, Engines: []string{"auto"}, Topologies: []string{"local"}})
	if f := fs.Lookup("workload"); f.DefValue != "all" || strings.Join(s.Workloads, " ") != "ledger bank" {
		t.Errorf("default %q: %q", f.DefValue, s.Workloads)
	}
	if err := fs.Parse([]string{"--workload", "all,clash"}); err != nil || fs.Lookup("workload").Value.String() != "ledger,clash,bank" {
		t.Errorf("%q, %v", fs.Lookup("workload").Value, err)
	}
}

// All means a fault that goes with a workload beside that workload alone, wherever the two were set, and what was left out or
// listed stays so.
func TestFaultsWithAWorkload(t *testing.T) {
	for _, c := range []struct {
		args, env       []string
		faults, implied string
	}{
		{nil, nil, "kill pause", ""},
		{[]string{"--workload", "clash"}, nil, "kill skew pause", "skew"},
		{[]string{"--faults", "all", "--workload", "bank,clash"}, nil, "kill skew pause", "skew"},
		{[]string{"--workload", "clash", "--faults", "-kill"}, nil, "skew pause", "skew"},
		{[]string{"--faults", "-kill"}, []string{"SPOCKCHAOS_WORKLOAD=clash", "SPOCKCHAOS_FAULTS=pause"}, "skew pause", "skew"},
		{[]string{"--faults", "-skew"}, []string{"SPOCKCHAOS_WORKLOAD=clash", "SPOCKCHAOS_FAULTS=pause"}, "kill pause", ""},
		{[]string{"--faults", "kill"}, []string{"SPOCKCHAOS_WORKLOAD=clash"}, "kill", ""},
		{[]string{"--faults", "skew"}, nil, "skew", ""},
		{[]string{"--faults", "skew, all"}, []string{"SPOCKCHAOS_WORKLOAD=clash"}, "kill skew pause", ""},
	} {
		fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
		s := New(fs, Names{Workloads: []string{"bank", "clash"}, Faults: []string{"kill", "skew", "pause"}, OptIn: []string{"clash", "skew"},
			With: map[string]string{"skew": "clash"}, Engines: []string{"auto"}, Topologies: []string{"local"}})
		if err := fs.Parse(c.args); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Load(c.env, ""); err != nil || strings.Join(s.Faults, " ") != c.faults || strings.Join(s.Implied, " ") != c.implied {
			t.Errorf("%v %v: faults %v, of them implied %v, %v", c.args, c.env, s.Faults, s.Implied, err)
		}
	}
}

func TestLoudness(t *testing.T) {
	for _, c := range []struct {
		args, env      []string
		quiet, verbose bool
	}{
		{[]string{"-v"}, []string{"SPOCKCHAOS_QUIET=true"}, false, true},
		{[]string{"-q"}, []string{"SPOCKCHAOS_VERBOSE=1"}, true, false},
		{nil, []string{"SPOCKCHAOS_VERBOSE=1"}, false, true},
	} {
		s, fs := newSet()
		if err := fs.Parse(c.args); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Load(c.env, ""); err != nil || s.Quiet != c.quiet || s.Verbose != c.verbose {
			t.Errorf("%v %v: quiet %v, verbose %v, %v", c.args, c.env, s.Quiet, s.Verbose, err)
		}
	}
}

func TestSize(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "512MB": "512MB", "2GB": "2GB", "2g": "2GB", "1024MiB": "1GB", "1048576kB": "1GB", "300m": "300MB", "1TB": "1TB",
		"255MB": "must be from 256MB to 1TB", "2TB": "must be from 256MB to 1TB", "-1GB": "must be from 256MB to 1TB",
		"99999999999999999999GB": "is not a size such as 512MB or 2GB", "9223372036854775807TB": "must be from 256MB to 1TB",
		"much": "is not a size such as 512MB or 2GB", "1.5GB": "is not a size such as 512MB or 2GB",
		"1073741824": "needs a unit, for example 1073741824MB or 1073741824GB", "1GBB": "needs a unit, for example 1MB or 1GB",
	} {
		var n int64
		v := newSize(&n, minVolume, maxVolume)
		err := v.Set(in)
		got := v.String()
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// A flag of another topology is a mistake; a variable is not, for it may be there for other runs.
func TestCheckTopology(t *testing.T) {
	for _, c := range []struct {
		args, env []string
		wrong     string
	}{
		{nil, nil, ""},
		{[]string{"--topology", "docker", "--image", "x", "--volume-size", "1GB"}, nil, ""},
		{[]string{"--pg-bin", "/x"}, nil, ""},
		{[]string{"--image", "x"}, nil, "--image is for --topology docker, not local"},
		{[]string{"--volume-size", "1GB"}, nil, "--volume-size is for --topology docker, not local"},
		{[]string{"--topology", "docker", "--pg-bin", "/x"}, nil, "--pg-bin is for --topology local, not docker"},
		{[]string{"--topology", "docker"}, []string{"SPOCKCHAOS_PG_BIN=/x"}, ""},
	} {
		s, fs := newSet()
		if err := fs.Parse(c.args); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Load(c.env, ""); err != nil {
			t.Fatal(err)
		}
		got := ""
		if err := s.CheckTopology(); err != nil {
			got = err.Error()
		}
		if got != c.wrong {
			t.Errorf("%v %v: %q, want %q", c.args, c.env, got, c.wrong)
		}
	}
}

// Whatever the list is, it resolves to known names without repeats, in their order, or to an error.
func FuzzFaultList(f *testing.F) {
	for _, s := range []string{"kill", "-kill", "all,-pause", ",", "-", "kill,,", "-kill,-pause,-partition"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		known := testNames().Faults
		got, err := ResolveNames(s, "fault", known, true)
		if err != nil {
			if got != nil {
				t.Errorf("%q: %v with an error", s, got)
			}
			return
		}
		last := -1
		for _, name := range got {
			i := slices.Index(known, name)
			if i <= last {
				t.Fatalf("%q: %v", s, got)
			}
			last = i
		}
		if len(got) == 0 {
			t.Errorf("%q: no fault and no error", s)
		}
		again, err := ResolveNames(strings.Join(got, ","), "fault", known, true)
		if err != nil || !slices.Equal(again, got) {
			t.Errorf("%q: %v, then %v, %v", s, got, again, err)
		}
	})
}

// No file makes the reader panic; what it takes is printed as a file that gives the same.
func FuzzYAML(f *testing.F) {
	s, _ := newSet()
	text, err := s.YAML()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	for _, t := range []string{"nodes: 3", "faults: [kill]\n", "a: b: c", "- x", "nodes: !!int 3", "x: &a 1\ny: *a", "<<: *x", "rate: .inf", "rate: .nan", "nodes: 0x3", "pg-ver: 017", "? nodes\n: 3", "{nodes: 3}", "report-dir: |\n  a\n", "\"nodes\": 3", "keep: yes", "seed: 1_000", "rate: -0.0", "report-dir: \"\\u0001\""} {
		f.Add([]byte(t))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		s, _ := newSet()
		if err := s.loadYAML("c.yaml", text); err != nil {
			if !strings.HasPrefix(err.Error(), "c.yaml:") || strings.ContainsAny(err.Error(), "\x00\x1b") {
				t.Errorf("error %q", err)
			}
			return
		}
		first, err := s.YAML()
		if err != nil {
			t.Fatal(err)
		}
		again, _ := newSet()
		if err := again.loadYAML("c.yaml", first); err != nil {
			t.Fatalf("%v\n%s", err, first)
		}
		if second, _ := again.YAML(); string(second) != string(first) {
			t.Errorf("first\n%s\nsecond\n%s", first, second)
		}
	})
}
