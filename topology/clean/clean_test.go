package clean

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spockchaos/spockchaos/topology/docker"
	"github.com/spockchaos/spockchaos/topology/owner"
)

// marked makes a directory as a local cluster has it.
func marked(t *testing.T, parent, name, marker string) {
	t.Helper()
	dir := filepath.Join(parent, name)
	if err := os.MkdirAll(filepath.Join(dir, "n1"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, ".spockchaos-cluster"), []byte(marker), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestLocal(t *testing.T) {
	parent, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	self, err := owner.Self()
	if err != nil {
		t.Fatal(err)
	}
	dead := self
	dead.Boot = "another"
	elsewhere := self
	elsewhere.Space = "1"
	marked(t, parent, "spockchaos-alive", self.String()+"\n")
	marked(t, parent, "spockchaos-dead", dead.String()+"\n")
	marked(t, parent, "spockchaos-elsewhere", elsewhere.String()+"\n")
	marked(t, parent, "spockchaos-kept", dead.String()+"\nkept\n")
	marked(t, parent, "spockchaos-odd", "")
	marked(t, parent, "another-dead", dead.String()+"\n")
	if err := os.Mkdir(filepath.Join(parent, "spockchaos-stranger"), 0o755); err != nil {
		t.Fatal(err)
	}
	all := []string{"another-dead", "spockchaos-alive", "spockchaos-dead", "spockchaos-elsewhere", "spockchaos-kept", "spockchaos-odd", "spockchaos-stranger"}
	run := func(opts Options, left []string, lines ...string) {
		t.Helper()
		opts.Parent = parent
		opts.Connect = func(context.Context) (docker.API, error) { return nil, errors.New("no container engine at x: y") }
		var out strings.Builder
		if err := Run(context.Background(), opts, &out); err != nil {
			t.Error(err)
		}
		for _, want := range append(lines, "looked for local clusters only: no container engine at x: y",
			"skipped directory "+parent+"/spockchaos-alive: process ", "skipped directory "+parent+"/spockchaos-elsewhere: ",
			"skipped directory "+parent+"/spockchaos-odd: ") {
			if !strings.Contains("\n"+out.String(), "\n"+want) {
				t.Errorf("%+v says\n%s\nwant %q", opts, out.String(), want)
			}
		}
		entries, err := os.ReadDir(parent)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range entries {
			got = append(got, e.Name())
		}
		if !slices.Equal(got, left) {
			t.Errorf("%+v leaves %v, want %v", opts, got, left)
		}
	}
	without := func(names ...string) []string {
		return slices.DeleteFunc(slices.Clone(all), func(s string) bool { return slices.Contains(names, s) })
	}
	const kept = "/spockchaos-kept: it was left up with --keep; --kept removes it as well\n"
	run(Options{DryRun: true}, all, "would remove directory "+parent+"/spockchaos-dead\n", "skipped directory "+parent+kept)
	run(Options{}, without("spockchaos-dead"), "removed directory "+parent+"/spockchaos-dead\n", "skipped directory "+parent+kept)
	run(Options{}, without("spockchaos-dead"), "nothing to remove\n")
	run(Options{DryRun: true, Kept: true}, without("spockchaos-dead"), "would remove directory "+parent+"/spockchaos-kept\n")
	run(Options{Kept: true}, without("spockchaos-dead", "spockchaos-kept"), "removed directory "+parent+"/spockchaos-kept\n")
}
