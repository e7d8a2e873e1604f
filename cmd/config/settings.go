package config

import (
	"time"

	"github.com/spf13/pflag"
)

// Names are the words that some settings are limited to.
type Names struct {
	Faults     []string
	Workloads  []string
	Engines    []string
	Topologies []string
	OptIn      []string // those of the above that "all" does not mean
	// With are faults out of OptIn that all means beside a workload: its name by theirs.
	With map[string]string
}

// Settings is what a user may set, each under its flag's name.
type Settings struct {
	Duration        time.Duration
	Seed            Seed
	Nodes           int
	Engine          string
	Topology        string
	PGBin           string
	PGVer           string
	Image           string
	VolumeSize      int64 // bytes, 0 for no limit
	ComposeFile     string
	AllowUserTables bool
	Workloads       []string // resolved names
	Sessions        int
	Rate            float64
	Faults          []string // resolved names
	Implied         []string // those of Faults that came with a workload and were not named
	Chaos           time.Duration
	Rounds          string
	RecoverySQL     string
	Tracking        string
	Rescue          string
	ReportDir       string
	Keep            bool
	LogFormat       string
	Quiet           bool
	Verbose         bool
}

// Seed is a seed, or the wish for a random one.
type Seed struct {
	Value uint64
	Given bool
}

// DefaultComposeFile is the file that generate writes where it is not told another.
const DefaultComposeFile = "docker-compose.yml"

// Bounds of the numbers.
const (
	minNodes, maxNodes       = 2, 9
	minSessions, maxSessions = 1, 1000
	maxRate                  = 1e9
	minChaos, maxChaos       = time.Second, time.Hour
	maxDuration              = 30 * 24 * time.Hour
	minVolume, maxVolume     = 256 << 20, 1 << 40 // an empty server, its WAL and some room
)

// defaultRate is what two cores carry with room to spare: three nodes that each write and apply everything, and a
// rescue that must catch up while the survivors are still written to.
const defaultRate = 500

// Set is the settings of one command with the flags that set them.
type Set struct {
	Settings
	names   Names
	all     *pflag.FlagSet  // every setting
	offered map[string]bool // those that the command lets its user set
	level   map[string]int  // by flag name: which source set it
}

// New defines the settings with their defaults and offers them as flags of a
// command: those in only, or all where only is empty.
func New(flags *pflag.FlagSet, names Names, only ...string) *Set {
	s := &Set{names: names, Settings: Settings{ComposeFile: DefaultComposeFile}, all: pflag.NewFlagSet("settings", pflag.ContinueOnError), offered: map[string]bool{}, level: map[string]int{}}
	for _, o := range s.options(names) {
		f := s.all.VarPF(o.value, o.name, o.short, o.usage)
		if o.value.kind() == kindBool {
			f.NoOptDefVal = "true"
		}
		if len(only) == 0 || contains(only, o.name) {
			s.offered[o.name] = true
			flags.AddFlag(f)
		}
	}
	return s
}

type option struct {
	name, short string
	value       value
	usage       string
}

func (s *Set) options(names Names) []option {
	return []option{
		{"duration", "", newDuration(&s.Duration, 30*time.Minute, time.Nanosecond, maxDuration, false),
			"how long rounds are begun (at least one is run)"},
		{"seed", "", newSeed(&s.Seed), "the number that every draw comes from, or random"},
		{"nodes", "", newInt(&s.Nodes, 3, minNodes, maxNodes), "how many nodes, 2 to 9"},
		{"engine", "", newEnum(&s.Engine, "auto", names.Engines), "what replicates: " + join(names.Engines) + "; auto is spock where the installation has it"},
		{"topology", "", newEnum(&s.Topology, "local", names.Topologies), "how nodes exist: " + join(names.Topologies)},
		{"pg-bin", "", newText(&s.PGBin, "directory"), "directory of the PostgreSQL programs (default: found)"},
		{"pg-ver", "", newEnum(&s.PGVer, "", []string{"", "15", "16", "17", "18"}), "PostgreSQL version wanted, 15 to 18 (default: the newest that has the engine)"},
		{"image", "", newText(&s.Image, "image"), "image of the nodes with --topology docker (default: the engine's own, for --pg-ver)"},
		{"volume-size", "", newSize(&s.VolumeSize, minVolume, maxVolume), "size of each node's volume with --topology docker, in memory, as in 1GB (default: on disk, no limit)"},
		{"compose-file", "", newText(&s.ComposeFile, "file"), "with --topology compose, the file that generate wrote and compose brought up"},
		{"allow-user-tables", "", newBool(&s.AllowUserTables), "with --topology compose, take databases that hold tables of somebody else's, and break their nodes"},
		{"workload", "", newNames(&s.Workloads, "workload", names.Workloads, false, names.OptIn...), "workloads to run together: a,b, or all, which leaves out those that are opt-in"},
		{"sessions", "", newInt(&s.Sessions, 8, minSessions, maxSessions), "how many clients write at the same time"},
		{"rate", "", newFloat(&s.Rate, defaultRate, 0, maxRate), "most transactions a second over all sessions, 0 for no cap"},
		{"faults", "", newNames(&s.Faults, "fault", names.Faults, true, names.OptIn...), "faults that may be drawn: a,b or all; -a leaves one out"},
		{"chaos", "", newDuration(&s.Chaos, 20*time.Second, minChaos, maxChaos, true), "length of the chaos of a round; a plain number is seconds"},
		{"rounds", "", newEnum(&s.Rounds, "fresh", []string{"fresh"}), "what each round starts on: fresh (a new copy of the wired cluster)"},
		{"recovery-sql", "", newText(&s.RecoverySQL, "file"), "a file loaded after the built-in procedures, to try a change to them"},
		{"tracking", "", newEnum(&s.Tracking, "sql", []string{"sql", "native"}), "who makes and advances the recovery slots: sql (the procedures), or native, a server that does it by itself"},
		{"rescue", "", newRescue(&s.Rescue), "how survivors are brought level: sql (the procedures), native (the server's own rescue), or exec:COMMAND, a runbook of your own"},
		{"report-dir", "", newText(&s.ReportDir, "directory"), "where the run is written; must be empty or not exist (default: spockchaos-runs/<time>-<seed>/)"},
		{"keep", "", newBool(&s.Keep), "leave the cluster up at the end"},
		{"log-format", "", newEnum(&s.LogFormat, "auto", []string{"auto", "console", "json"}), "auto, console or json"},
		{"quiet", "q", newBool(&s.Quiet), "log warnings and errors only, no live display"},
		{"verbose", "v", newBool(&s.Verbose), "log details"},
	}
}
