package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
)

// EnvPrefix begins the name of every variable: --pg-bin is SPOCKCHAOS_PG_BIN.
const EnvPrefix = "SPOCKCHAOS_"

// testPrefix begins the variables of this project's own tests.
const testPrefix = EnvPrefix + "TEST_"

// cacheVariable says where make pg puts private servers, and where they are looked for: no setting of a run.
const cacheVariable = EnvPrefix + "CACHE"

// EnvName is the variable of a flag.
func EnvName(flag string) string {
	return EnvPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// Sources, the strongest first.
const (
	fromFlag = iota + 1
	fromEnv
	fromFile
	fromRun // the run that is replayed
	fromDefault
)

// Load fills what the command line left open: from environ (os.Environ's form),
// then from the file, "" for none. It returns the SPOCKCHAOS_* variables that set
// nothing.
func (s *Set) Load(environ []string, file string) (ignored []string, err error) {
	s.all.VisitAll(func(f *pflag.Flag) {
		if f.Changed {
			s.level[f.Name] = fromFlag
		}
	})
	env := map[string]string{}
	for _, e := range environ {
		// An empty variable is one that is not set: that is how a shell takes one away for a command.
		if k, v, ok := strings.Cut(e, "="); ok && strings.HasPrefix(k, EnvPrefix) && !strings.HasPrefix(k, testPrefix) && k != cacheVariable && v != "" {
			env[k] = v
		}
	}
	delete(env, EnvName("config")) // the caller's
	for _, f := range s.settings() {
		name := EnvName(f.Name)
		v, ok := env[name]
		if !ok || !s.offered[f.Name] {
			continue
		}
		delete(env, name)
		if err := s.set(f.Name, v, fromEnv); err != nil {
			return nil, fmt.Errorf("%s=%s %w", name, clip(v), err)
		}
	}
	if file != "" {
		if err := s.loadFile(file); err != nil {
			return nil, err
		}
	}
	for k := range env {
		ignored = append(ignored, k)
	}
	sort.Strings(ignored)
	if err := s.settleFaults(); err != nil {
		return nil, err
	}
	return ignored, s.settleLoudness()
}

// settleFaults gives "all" the faults that go with the workloads, which may have been set later.
func (s *Set) settleFaults() error {
	list := s.all.Lookup("faults").Value.(*nameValue)
	optIn := slices.DeleteFunc(slices.Clone(s.names.OptIn), func(name string) bool {
		with, ok := s.names.With[name]
		return ok && contains(s.Workloads, with)
	})
	if err := list.settle(optIn); err != nil {
		return fmt.Errorf("faults %s %w", clip(list.given), err)
	}
	s.Implied = nil
	for _, name := range s.Faults {
		if s.names.With[name] != "" && !list.names(name) {
			s.Implied = append(s.Implied, name)
		}
	}
	return nil
}

// LoadRun takes what is still open from the configuration that a run recorded
// (Effective), but for the settings in except. Names that this program does not know are
// passed over: another version recorded them. where is named in errors.
func (s *Set) LoadRun(where string, config map[string]any, except ...string) error {
	for _, f := range s.settings() {
		v, ok := config[f.Name]
		if !ok || contains(except, f.Name) {
			continue
		}
		if err := s.set(f.Name, textOf(v), fromRun); err != nil {
			return fmt.Errorf("%s: config: %s: %s %w", where, f.Name, clip(textOf(v)), err)
		}
	}
	return s.settleFaults()
}

// textOf is the text that a flag would have for a value that was read from JSON.
func textOf(v any) string {
	switch v := v.(type) {
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case []any:
		words := make([]string, len(v))
		for i, w := range v {
			words[i] = fmt.Sprint(w)
		}
		return strings.Join(words, ",")
	}
	return fmt.Sprint(v)
}

// set gives a value to a setting, unless a stronger source did.
func (s *Set) set(name, text string, level int) error {
	v := s.all.Lookup(name).Value
	if had, ok := s.level[name]; ok && had < level {
		// What loses must be right as well: else a mistake shows up on the day that the flag is left out.
		before := v.String()
		if list, ok := v.(*nameValue); ok && list.given != "" {
			before = list.given
		}
		err := v.Set(text)
		_ = v.Set(before) // it was set before
		return err
	}
	s.level[name] = level
	return v.Set(text)
}

// settleLoudness lets the stronger source of quiet and verbose win.
func (s *Set) settleLoudness() error {
	if !s.Quiet || !s.Verbose {
		return nil
	}
	q, v := s.level["quiet"], s.level["verbose"]
	switch {
	case q < v:
		s.Verbose = false
	case v < q:
		s.Quiet = false
	default:
		return errors.New("quiet and verbose exclude each other")
	}
	return nil
}

// CheckTopology says which flag has no meaning for the topology that is set: the error begins with the flag. In
// variables and files there may be settings for every topology.
func (s *Set) CheckTopology() error {
	for _, only := range []struct {
		flag       string
		topologies []string
	}{
		{"pg-bin", []string{"local"}}, {"pg-ver", []string{"local", "docker"}}, {"keep", []string{"local", "docker"}},
		{"image", []string{"docker"}}, {"volume-size", []string{"docker"}},
		{"compose-file", []string{"compose"}}, {"allow-user-tables", []string{"compose"}},
	} {
		if s.level[only.flag] == fromFlag && !contains(only.topologies, s.Topology) {
			return fmt.Errorf("--%s is for --topology %s, not %s", only.flag, strings.Join(only.topologies, " or "), s.Topology)
		}
	}
	return nil
}

// Settle gives a setting the only value that it can have; what a user gave as another is an error, which begins with the setting. where is who says so.
func (s *Set) Settle(name, text, where string) error {
	v := s.all.Lookup(name).Value
	had := v.String()
	if err := v.Set(text); err != nil {
		return fmt.Errorf("%s: %s %s %w", where, name, clip(text), err)
	}
	if _, given := s.level[name]; given && had != v.String() {
		_ = v.Set(had) // it was set before
		return fmt.Errorf("--%s %s: %s has %s", name, had, where, text)
	}
	return nil
}

// CheckFiles says what is wrong with the files that the settings name, as far as
// can be seen before a run: the error begins with the flag.
func (s *Settings) CheckFiles() error {
	if s.RecoverySQL != "" {
		f, err := os.Open(s.RecoverySQL)
		if err != nil {
			return fmt.Errorf("--recovery-sql %s: %w", clip(s.RecoverySQL), plainError(err))
		}
		info, err := f.Stat()
		_ = f.Close()
		if err == nil && !info.Mode().IsRegular() {
			return fmt.Errorf("--recovery-sql %s: is not a file", clip(s.RecoverySQL))
		}
	}
	if s.PGBin != "" {
		info, err := os.Stat(s.PGBin)
		if err != nil {
			return fmt.Errorf("--pg-bin %s: %w", clip(s.PGBin), plainError(err))
		}
		if !info.IsDir() {
			return fmt.Errorf("--pg-bin %s: is not a directory", clip(s.PGBin))
		}
	}
	return nil
}

// plainError takes operation and path off an error of package os: the caller has named them.
func plainError(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// clip shortens a value for a message and keeps it on one line.
func clip(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, s)
	if r := []rune(s); len(r) > 120 {
		return string(r[:120]) + "…"
	}
	return s
}

// Effective is every setting by flag name, in the form that a configuration file has it.
func (s *Set) Effective() map[string]any {
	m := map[string]any{}
	for _, o := range s.settings() {
		m[o.Name] = o.Value.(value).plain()
	}
	return m
}

// settings are the flags of all settings, by name.
func (s *Set) settings() []*pflag.Flag {
	var list []*pflag.Flag
	s.all.VisitAll(func(f *pflag.Flag) { list = append(list, f) })
	return list
}
