package local_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spockchaos/spockchaos/topology/engine"
	"github.com/spockchaos/spockchaos/topology/engine/pglogical"
	"github.com/spockchaos/spockchaos/topology/engine/spock"
	"github.com/spockchaos/spockchaos/topology/local"
	"github.com/spockchaos/spockchaos/topology/local/localtest"
)

// fake makes an installation that is PostgreSQL only by what it says.
func fake(t *testing.T, version string, engines ...string) string {
	t.Helper()
	root := t.TempDir()
	write := func(path, text string, mode os.FileMode) {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	major, _, _ := strings.Cut(version, ".")
	lib := "usr/lib/postgresql/" + major
	write(lib+"/bin/postgres", "#!/bin/sh\necho 'postgres (PostgreSQL) "+version+"'\n", 0o755)
	write(lib+"/bin/initdb", "#!/bin/sh\nexit 1\n", 0o755)
	for _, e := range engines {
		write(lib+"/lib/"+e+".so", "", 0o644)
		write(lib+"/lib/"+e+"_output.so", "", 0o644)
		write("usr/share/postgresql/"+major+"/extension/"+e+".control", "default_version = '2.4.9'\n", 0o644)
	}
	return filepath.Join(root, lib, "bin")
}

func TestFindPostgres(t *testing.T) {
	ctx := context.Background()
	eng := pglogical.New()
	good, bare, old := fake(t, "16.3", "pglogical"), fake(t, "17.1"), fake(t, "14.2", "pglogical")

	found, err := local.FindPostgres(ctx, good, "", eng)
	if found.BinDir != good || found.Version != "16.3" || found.VersionNum != 160003 || found.Engine.Name() != "pglogical" || err != nil {
		t.Errorf("%+v, %v", found, err)
	}
	if lib := filepath.Join(filepath.Dir(good), "lib"); true {
		v, err := eng.Available(engine.Directories{Lib: lib, Share: filepath.Join(filepath.Dir(good), "../../../share/postgresql/16")})
		if v != "2.4.9" || err != nil {
			t.Errorf("%q, %v", v, err)
		}
	}
	for _, c := range []struct{ bin, ver, want string }{
		{bare, "", bare + " has no pglogical"},
		{old, "", "PostgreSQL 14.2"},
		{good, "17", "PostgreSQL 16.3, not 17"},
		{good, "x", `"x"`},
		{good, "12", `"12"`},
		{"/nowhere/at/all", "", "/nowhere/at/all has no postgres"},
	} {
		_, err := local.FindPostgres(ctx, c.bin, c.ver, eng)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s %s: %v, want %q", c.bin, c.ver, err, c.want)
		}
	}
	t.Setenv("PG_CONFIG", filepath.Join(good, "pg_config"))
	if _, err := local.FindPostgres(ctx, "", "", eng); err == nil || !strings.Contains(err.Error(), "PG_CONFIG=") {
		t.Errorf("%v", err)
	}
	if err := os.WriteFile(filepath.Join(good, "pg_config"), []byte("#!/bin/sh\ncase $1 in --bindir) echo "+good+
		";; --pkglibdir) echo "+filepath.Dir(good)+"/lib;; *) echo "+filepath.Join(filepath.Dir(good), "../../../share/postgresql/16")+";; esac\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if found, err := local.FindPostgres(ctx, "", "", eng); found.BinDir != good || err != nil {
		t.Errorf("%+v, %v", found, err)
	}
	t.Setenv("PG_CONFIG", "")
	// A private prefix below the working directory.
	wd := t.TempDir()
	if err := os.MkdirAll(filepath.Join(wd, ".cache", "pg"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(strings.TrimSuffix(good, "/usr/lib/postgresql/16/bin"), filepath.Join(wd, ".cache", "pg", "16")); err != nil {
		t.Fatal(err)
	}
	t.Chdir(wd)
	if found, err := local.FindPostgres(ctx, "", "16", eng); found.BinDir != good || found.Version != "16.3" || err != nil { // where the link leads
		t.Errorf("%+v, %v", found, err)
	}
}

// TestEngineOfInstallation asks for the first engine of a list that an installation has.
func TestEngineOfInstallation(t *testing.T) {
	ctx := context.Background()
	plain, both := fake(t, "17.1", "pglogical"), fake(t, "16.3", "pglogical", "spock")
	wanted := []engine.Engine{spock.New(), pglogical.New()}
	for bin, want := range map[string]string{plain: "pglogical", both: "spock"} {
		if found, err := local.FindPostgres(ctx, bin, "", wanted...); err != nil || found.Engine.Name() != want {
			t.Errorf("%+v, %v; want %s", found, err, want)
		}
	}
	if _, err := local.FindPostgres(ctx, plain, "", wanted[:1]...); err == nil || !strings.Contains(err.Error(), plain+" has no spock") {
		t.Errorf("%v", err)
	}
	t.Setenv("PG_CONFIG", "")
	t.Setenv("PATH", "")
	t.Setenv("HOME", t.TempDir())
	t.Setenv("SPOCKCHAOS_CACHE", t.TempDir())
	if err := os.Mkdir(filepath.Join(os.Getenv("SPOCKCHAOS_CACHE"), "pg"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, bin := range map[string]string{"a": plain, "b": both} {
		if err := os.Symlink(filepath.Join(bin, "../../../../.."), filepath.Join(os.Getenv("SPOCKCHAOS_CACHE"), "pg", name)); err != nil {
			t.Fatal(err)
		}
	}
	if found, err := local.FindPostgres(ctx, "", "", wanted...); err != nil || found.BinDir != both {
		t.Errorf("%+v, %v: the older one with the engine that comes first is %s", found, err, both)
	}
}

// TestNewLeavesNothingBehind makes clusters that cannot come up.
func TestNewLeavesNothingBehind(t *testing.T) {
	ctx := limit(t)
	eng := pglogical.New()
	real := localtest.BinDir(t)
	parent := t.TempDir()
	for dir := parent; dir != "/" && dir != os.TempDir(); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	run := t.TempDir()
	for _, c := range []struct {
		what, want string
		change     func(*local.Options)
	}{
		{"no node", "1 to 9", func(o *local.Options) { o.Nodes = 0 }},
		{"ten nodes", "1 to 9", func(o *local.Options) { o.Nodes = 10 }},
		{"no engine", "engine", func(o *local.Options) { o.Engine = nil }},
		{"no programs", "no working postgres", func(o *local.Options) { o.BinDir = parent }},
		{"initdb fails", "initdb failed", func(o *local.Options) { o.BinDir = fake(t, "16.3", "pglogical") }},
		{"no such parent", "missing", func(o *local.Options) { o.DataParent = filepath.Join(parent, "missing") }},
		{"long parent", "too long for a socket", func(o *local.Options) {
			o.DataParent = filepath.Join(parent, strings.Repeat("x", 100))
			if err := os.Mkdir(o.DataParent, 0o755); err != nil {
				t.Fatal(err)
			}
		}},
		{"bad setting", "n", func(o *local.Options) { o.Settings = map[string]string{"shared_buffers": "nonsense"} }},
		{"no watchdog", "watchdog", func(o *local.Options) { o.WatchdogCommand = []string{"/nowhere/watchdog"} }},
	} {
		t.Run(c.what, func(t *testing.T) {
			o := local.Options{Nodes: 2, BinDir: real, Engine: eng, DataParent: parent, Dir: run}
			c.change(&o)
			cl, err := local.New(ctx, o)
			if err == nil {
				_ = cl.Close(ctx)
				t.Fatal("it came up")
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v; want %q", err, c.want)
			}
			t.Log(err)
			for _, dir := range []string{parent, run, o.DataParent} {
				entries, err := os.ReadDir(dir)
				if err != nil && dir != o.DataParent {
					t.Fatal(err)
				}
				for _, e := range entries {
					if strings.HasPrefix(e.Name(), "spockchaos-") || strings.Contains(e.Name(), "cluster.json") {
						t.Errorf("%s is left", e.Name())
					}
				}
			}
		})
	}
}
