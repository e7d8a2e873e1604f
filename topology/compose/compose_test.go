package compose

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The repository's own file is what generate writes without flags.
func TestRepositoryFile(t *testing.T) {
	c, err := New(Defaults())
	if err != nil {
		t.Fatal(err)
	}
	want, err := c.Text(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../../docker-compose.yml")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, []byte(want)) {
		t.Error("docker-compose.yml is not what `spockchaos generate` writes: run it with --force")
	}
}

func TestNewRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Options)
		says   string
	}{
		"one node":           {func(o *Options) { o.Nodes = 1 }, "1"},
		"ten nodes":          {func(o *Options) { o.Nodes = 10 }, "10"},
		"no subnet":          {func(o *Options) { o.Subnet = "here" }, "here"},
		"small subnet":       {func(o *Options) { o.Subnet = "10.0.0.0/27" }, "10.0.0.0/27"},
		"port":               {func(o *Options) { o.HostPortStart = 65530 }, "65530"},
		"version":            {func(o *Options) { o.Postgres = 16 }, "16"},
		"engine":             {func(o *Options) { o.Engine = "bdr" }, "bdr"},
		"version for engine": {func(o *Options) { o.Engine, o.Postgres = Spock, 15 }, "15"},
	} {
		o := Defaults()
		c.change(&o)
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What was written is read back as what it was made of, and a file of somebody else's is left alone.
func TestSaveAndLoad(t *testing.T) {
	ctx, file := t.Context(), filepath.Join(t.TempDir(), "docker-compose.yml")
	o := Defaults()
	o.Nodes, o.BaseDelay, o.DelayStep = 4, 3*time.Millisecond, 2*time.Millisecond
	made, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // its own file is overwritten
		if err := made.Save(ctx, file, false); err != nil {
			t.Fatal(err)
		}
	}
	read, err := Load(ctx, file, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(read.Nodes) != 4 || len(read.Links) != 16 || read.Engine != Pglogical {
		t.Fatalf("%d nodes, %d links, engine %s", len(read.Nodes), len(read.Links), read.Engine)
	}
	if first, last := made.Links[0].Delay, made.Links[15].Delay; first != 3*time.Millisecond || last != 33*time.Millisecond {
		t.Errorf("links delay by %s to %s", first, last)
	}
	for i, n := range read.Nodes {
		if n != made.Nodes[i] {
			t.Errorf("node %+v, made %+v", n, made.Nodes[i])
		}
	}

	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, foreign := range map[string]string{
		"changed by hand": strings.Replace(string(text), "POSTGRES_DB: chaos", "POSTGRES_DB: mine", 1),
		"not ours":        "services:\n  db:\n    image: postgres\n",
	} {
		if foreign == string(text) {
			t.Fatalf("%s: the test changes nothing", name)
		}
		if err := os.WriteFile(file, []byte(foreign), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := made.Save(ctx, file, false); err == nil {
			t.Errorf("%s: overwritten", name)
		}
		if now, _ := os.ReadFile(file); string(now) != foreign {
			t.Errorf("%s: the file is not what it was", name)
		}
		if name == "not ours" {
			if _, err := Load(ctx, file, nil); err == nil || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: %v", name, err)
			}
		}
		if err := made.Save(ctx, file, true); err != nil {
			t.Errorf("%s: --force: %v", name, err)
		}
	}
}
