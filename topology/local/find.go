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

// installation is a PostgreSQL that may do.
type installation struct {
	bin     string
	version string
	number  int
}

// FindPostgres finds the PostgreSQL programs to use: pgBin if it is given, else $PG_CONFIG's,
// else the newest that has the engine of the system's (/usr/lib/postgresql, pg_config in PATH), else of the private
// prefixes (.cache/pg below the working directory, spockchaos/pg below the user's cache directory). pgVer, if
// given, is the major version wanted; then a private prefix goes first: somebody took the trouble to make it. The error is one line that names what was looked at.
func FindPostgres(ctx context.Context, pgBin, pgVer string, eng engine.Engine) (binDir, version string, versionNum int, err error) {
	major := 0
	if pgVer != "" {
		major, err = strconv.Atoi(pgVer)
		if err != nil || major < server.OldestMajor || major > server.NewestMajor {
			return "", "", 0, fmt.Errorf("PostgreSQL version %q: known are %d to %d", pgVer, server.OldestMajor, server.NewestMajor)
		}
	}
	if pgBin != "" {
		return named(ctx, pgBin, pgBin, major, eng)
	}
	if conf := os.Getenv("PG_CONFIG"); conf != "" {
		bin, err := configured(ctx, conf)
		if err != nil {
			return "", "", 0, fmt.Errorf("PG_CONFIG=%s: %w", conf, err)
		}
		return named(ctx, bin, "PG_CONFIG="+conf, major, eng)
	}
	var whyNot []string
	groups := [][]string{systemBins(ctx), privateBins()}
	if major != 0 {
		slices.Reverse(groups)
	}
	for _, group := range groups {
		var found []installation
		for _, bin := range group {
			i, err := inspect(ctx, bin, eng)
			switch {
			case err != nil:
				whyNot = append(whyNot, err.Error())
			case major != 0 && i.number/10000 != major:
			default:
				found = append(found, i)
			}
		}
		if len(found) > 0 {
			best := slices.MaxFunc(found, func(a, b installation) int { return cmp.Compare(a.number, b.number) })
			return best.bin, best.version, best.number, nil
		}
	}
	want := "PostgreSQL"
	if major != 0 {
		want += " " + pgVer
	}
	if len(whyNot) > 0 {
		return "", "", 0, fmt.Errorf("no %s with %s found: %s", want, eng.Name(), strings.Join(whyNot, "; "))
	}
	return "", "", 0, fmt.Errorf("no %s with %s found in .cache/pg, /usr/lib/postgresql and PATH: name one with --pg-bin, or run make pg", want, eng.Name())
}

// named checks an installation that somebody named.
func named(ctx context.Context, bin, as string, major int, eng engine.Engine) (string, string, int, error) {
	i, err := inspect(ctx, bin, eng)
	if err != nil {
		return "", "", 0, err
	}
	if major != 0 && i.number/10000 != major {
		return "", "", 0, fmt.Errorf("%s is PostgreSQL %s, not %d", as, i.version, major)
	}
	return i.bin, i.version, i.number, nil
}

// inspect says what an installation is, or what it lacks.
func inspect(ctx context.Context, bin string, eng engine.Engine) (installation, error) {
	bin, err := filepath.Abs(bin)
	if err != nil {
		return installation{}, err
	}
	// The server's account may not be able to search the directory of a symbolic link, only where it leads.
	if real, err := filepath.EvalSymlinks(bin); err == nil {
		bin = real
	}
	for _, prog := range []string{"postgres", "initdb"} {
		info, err := os.Stat(filepath.Join(bin, prog))
		if err != nil {
			return installation{}, fmt.Errorf("%s has no %s", bin, prog)
		}
		if info.IsDir() || info.Mode()&0o111 == 0 {
			return installation{}, fmt.Errorf("%s/%s is no program", bin, prog)
		}
	}
	i := installation{bin: bin}
	if i.version, i.number, err = serverVersion(ctx, bin); err != nil {
		return installation{}, err
	}
	if m := i.number / 10000; m < server.OldestMajor || m > server.NewestMajor {
		return installation{}, fmt.Errorf("%s is PostgreSQL %s: known are %d to %d", bin, i.version, server.OldestMajor, server.NewestMajor)
	}
	lib, share := directories(ctx, bin)
	if _, err := eng.Available(engine.Directories{Lib: lib, Share: share}); err != nil {
		return installation{}, fmt.Errorf("%s has %w", bin, err)
	}
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
