package local

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spockchaos/spockchaos/topology/engine"
	"github.com/spockchaos/spockchaos/topology/server"
)

// Installation is a PostgreSQL that FindPostgres found.
type Installation struct {
	BinDir     string // of the programs
	Version    string // "17.11"
	VersionNum int    // 170011
	Engine     engine.Engine
	rank       int // of the engine among those wanted
}

// FindPostgres finds the PostgreSQL programs to use: pgBin if it is given, else $PG_CONFIG's,
// else the newest that has the engine of the system's (/usr/lib/postgresql, pg_config in PATH), else of the private
// prefixes (.cache/pg below the working directory, spockchaos/pg below the user's cache directory). pgVer, if
// given, is the major version wanted; then a private prefix goes first: somebody took the trouble to make it. Of engines one must be there, the
// first of them if more than one is. The error is one line that names what was looked at.
func FindPostgres(ctx context.Context, pgBin, pgVer string, engines ...engine.Engine) (found Installation, err error) {
	major := 0
	if pgVer != "" {
		major, err = strconv.Atoi(pgVer)
		if err != nil || major < server.OldestMajor || major > server.NewestMajor {
			return found, fmt.Errorf("PostgreSQL version %q: known are %d to %d", pgVer, server.OldestMajor, server.NewestMajor)
		}
	}
	if pgBin != "" {
		return named(ctx, pgBin, pgBin, major, engines)
	}
	if conf := os.Getenv("PG_CONFIG"); conf != "" {
		bin, err := configured(ctx, conf)
		if err != nil {
			return found, fmt.Errorf("PG_CONFIG=%s: %w", conf, err)
		}
		return named(ctx, bin, "PG_CONFIG="+conf, major, engines)
	}
	var whyNot []string
	var all []Installation
	groups := [][]string{systemBins(ctx), privateBins()}
	if major != 0 {
		slices.Reverse(groups)
	}
	for _, group := range groups {
		var some []Installation
		for _, bin := range group {
			i, err := inspect(ctx, bin, engines)
			switch {
			case err != nil:
				whyNot = append(whyNot, err.Error())
			case major != 0 && i.VersionNum/10000 != major:
			default:
				some = append(some, i)
			}
		}
		slices.SortStableFunc(some, func(a, b Installation) int { return cmp.Compare(b.VersionNum, a.VersionNum) })
		all = append(all, some...)
	}
	if len(all) > 0 {
		return slices.MinFunc(all, func(a, b Installation) int { return cmp.Compare(a.rank, b.rank) }), nil
	}
	want := "PostgreSQL"
	if major != 0 {
		want += " " + pgVer
	}
	want += " with " + names(engines)
	if len(whyNot) > 0 {
		return found, fmt.Errorf("no %s found: %s", want, strings.Join(whyNot, "; "))
	}
	return found, fmt.Errorf("no %s found in .cache/pg, /usr/lib/postgresql and PATH: name one with --pg-bin, or run make pg", want)
}

func names(engines []engine.Engine) string {
	var all []string
	for _, e := range engines {
		all = append(all, e.Name())
	}
	return strings.Join(all, " or ")
}

// named checks an installation that somebody named.
func named(ctx context.Context, bin, as string, major int, engines []engine.Engine) (Installation, error) {
	i, err := inspect(ctx, bin, engines)
	if err != nil {
		return Installation{}, err
	}
	if major != 0 && i.VersionNum/10000 != major {
		return Installation{}, fmt.Errorf("%s is PostgreSQL %s, not %d", as, i.Version, major)
	}
	return i, nil
}

// inspect says what an installation is, or what it lacks.
func inspect(ctx context.Context, bin string, engines []engine.Engine) (Installation, error) {
	bin, err := filepath.Abs(bin)
	if err != nil {
		return Installation{}, err
	}
	// The server's account may not be able to search the directory of a symbolic link, only where it leads.
	if real, err := filepath.EvalSymlinks(bin); err == nil {
		bin = real
	}
	for _, prog := range []string{"postgres", "initdb"} {
		info, err := os.Stat(filepath.Join(bin, prog))
		if err != nil {
			return Installation{}, fmt.Errorf("%s has no %s", bin, prog)
		}
		if info.IsDir() || info.Mode()&0o111 == 0 {
			return Installation{}, fmt.Errorf("%s/%s is no program", bin, prog)
		}
	}
	i := Installation{BinDir: bin}
	if i.Version, i.VersionNum, err = serverVersion(ctx, bin); err != nil {
		return Installation{}, err
	}
	if m := i.VersionNum / 10000; m < server.OldestMajor || m > server.NewestMajor {
		return Installation{}, fmt.Errorf("%s is PostgreSQL %s: known are %d to %d", bin, i.Version, server.OldestMajor, server.NewestMajor)
	}
	lib, share := directories(ctx, bin)
	if i.rank, _, err = engine.Choose(engine.Directories{Lib: lib, Share: share}, engines); err != nil {
		return Installation{}, fmt.Errorf("%s has %w", bin, err)
	}
	i.Engine = engines[i.rank]
	return i, nil
}

// directories are where an installation keeps its libraries and its shared files: what its own pg_config
// says, else Debian's layout, since a prefix of the server's package alone has no pg_config.
func directories(ctx context.Context, bin string) (lib, share string) {
	conf := filepath.Join(bin, "pg_config")
	if _, err := os.Stat(conf); err == nil {
		l, err1 := ask(ctx, conf, "--pkglibdir")
		s, err2 := ask(ctx, conf, "--sharedir")
		if err1 == nil && err2 == nil {
			return l, s
		}
	}
	prefix := filepath.Dir(bin)
	lib = filepath.Join(prefix, "lib")
	share = filepath.Join(prefix, "share")
	// …/usr/lib/postgresql/17 and …/usr/share/postgresql/17
	if parent := filepath.Dir(prefix); filepath.Base(parent) == "postgresql" && filepath.Base(filepath.Dir(parent)) == "lib" {
		usr := filepath.Dir(filepath.Dir(parent))
		share = filepath.Join(usr, "share", "postgresql", filepath.Base(prefix))
	}
	return lib, share
}

func configured(ctx context.Context, conf string) (string, error) { return ask(ctx, conf, "--bindir") }

func ask(ctx context.Context, program, option string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, program, option).Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", program, option, err)
	}
	return strings.TrimSpace(string(out)), nil
}

// privateBins are the prefixes that make pg fills.
func privateBins() []string {
	var roots []string
	if cache := os.Getenv("SPOCKCHAOS_CACHE"); cache != "" { // where make pg was told to put it
		roots = append(roots, filepath.Join(cache, "pg"))
	}
	if wd, err := os.Getwd(); err == nil {
		roots = append(roots, filepath.Join(wd, ".cache", "pg"))
	}
	if exe, err := os.Executable(); err == nil { // bin/spockchaos in the repository
		roots = append(roots, filepath.Join(filepath.Dir(filepath.Dir(exe)), ".cache", "pg"))
	}
	if cache, err := os.UserCacheDir(); err == nil {
		roots = append(roots, filepath.Join(cache, "spockchaos", "pg"))
	}
	var bins []string
	for _, r := range roots {
		for _, pattern := range []string{"*/usr/lib/postgresql/*/bin", "*/bin"} {
			found, _ := filepath.Glob(filepath.Join(r, pattern)) // the pattern is a good one
			bins = append(bins, found...)
		}
	}
	slices.Sort(bins)
	return slices.Compact(bins)
}

// systemBins are Debian's directories and that of the pg_config in PATH.
func systemBins(ctx context.Context) []string {
	bins, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	if conf, err := exec.LookPath("pg_config"); err == nil {
		if bin, err := configured(ctx, conf); err == nil && !slices.Contains(bins, bin) {
			bins = append(bins, bin)
		}
	}
	return bins
}
