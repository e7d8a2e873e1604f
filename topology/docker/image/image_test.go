package image_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spockchaos/spockchaos/topology/docker"
	"github.com/spockchaos/spockchaos/topology/docker/image"
	"github.com/spockchaos/spockchaos/topology/docker/image/imagetest"
)

// engine is a machine with some images; what is asked of it is kept.
type engine struct {
	has      []string
	pulled   []string
	imported []string // references and instructions
	root     []byte   // of the last import
	broken   error
}

func (e *engine) Image(_ context.Context, ref string) (docker.Image, error) {
	if e.broken != nil {
		return docker.Image{}, e.broken
	}
	if !slices.Contains(e.has, ref) {
		return docker.Image{}, docker.ErrNotFound
	}
	return docker.Image{ID: ref}, nil
}

func (e *engine) PullImage(_ context.Context, ref string) error {
	e.pulled = append(e.pulled, ref)
	if strings.Contains(ref, "pg17") || strings.Contains(ref, ":17") {
		return errors.New("dial tcp: no such host")
	}
	return nil
}

func (e *engine) ImportImage(_ context.Context, ref string, root io.Reader, instructions ...string) (err error) {
	e.has = append(e.has, ref)
	e.imported = append(append(e.imported, ref), instructions...)
	e.root, err = io.ReadAll(root)
	return err
}

func TestForEngine(t *testing.T) {
	const node, pgedge = "spockchaos/node:pg", "ghcr.io/pgedge/pgedge-postgres:"
	for name, c := range map[string]struct {
		engine, pgVer string
		has           []string
		want, wantErr string
		pulled        int
	}{
		"asked for":          {engine: "pglogical", pgVer: "15", has: []string{node + "15-pglogical", node + "18-pglogical"}, want: node + "15-pglogical"},
		"newest there":       {engine: "pglogical", has: []string{node + "15-pglogical", node + "17-pglogical"}, want: node + "17-pglogical"},
		"none there":         {engine: "pglogical", wantErr: "image spockchaos/node:pg17-pglogical is not on this machine: build it from Debian packages (make image PG=17), or "},
		"asked, not there":   {engine: "pglogical", pgVer: "18", has: []string{node + "17-pglogical"}, wantErr: "make image PG=18"},
		"version without":    {engine: "pglogical", pgVer: "16", wantErr: "no image has PostgreSQL 16 with pglogical: there are 15, 17, 18"},
		"no version":         {engine: "pglogical", pgVer: "x", wantErr: "no image has PostgreSQL x"},
		"unknown engine":     {engine: "native", wantErr: `no image has engine "native": there are pglogical and spock`},
		"spock is pulled":    {engine: "spock", want: pgedge + "18-spock5-standard", pulled: 1},
		"spock is there":     {engine: "spock", has: []string{pgedge + "17-spock5-standard"}, want: pgedge + "17-spock5-standard"},
		"spock out of reach": {engine: "spock", pgVer: "17", wantErr: "cannot be pulled: dial tcp: no such host", pulled: 1},
		"spock without 15":   {engine: "spock", pgVer: "15", wantErr: "there are 17, 18"},
	} {
		t.Run(name, func(t *testing.T) {
			e := &engine{has: c.has}
			got, err := image.ForEngine(t.Context(), e, c.engine, c.pgVer)
			if c.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), c.wantErr) || strings.Contains(err.Error(), "\n") {
					t.Errorf("error is %v, want one line with %q", err, c.wantErr)
				}
			} else if err != nil {
				t.Error(err)
			}
			if got != c.want || len(e.pulled) != c.pulled {
				t.Errorf("got %q, pulled %v; want %q after %d pulls", got, e.pulled, c.want, c.pulled)
			}
		})
	}
	broken := &engine{broken: errors.New("engine gone")}
	if _, err := image.ForEngine(t.Context(), broken, "spock", ""); !errors.Is(err, broken.broken) || broken.pulled != nil {
		t.Errorf("error is %v, pulled %v; want the engine's error and no pull", err, broken.pulled)
	}
}

func TestFind(t *testing.T) {
	for _, c := range [][3]string{
		{"pglogical", "", "spockchaos/node:pg17-pglogical"}, {"pglogical", "18", "spockchaos/node:pg18-pglogical"},
		{"spock", "", "ghcr.io/pgedge/pgedge-postgres:18-spock5-standard"},
	} {
		if got, err := image.Find(c[0], c[1]); err != nil || got.Ref != c[2] {
			t.Errorf("Find(%q, %q) = %+v, %v; want %q", c[0], c[1], got, err, c[2])
		}
	}
	if _, err := image.Find("spock", "15"); err == nil {
		t.Error("there is no image of Spock on PostgreSQL 15")
	}
}

func TestEnsureSelfImportsOnce(t *testing.T) {
	program := imagetest.Program(t)
	e := &engine{}
	ref, err := image.EnsureSelf(t.Context(), e, program)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := image.EnsureSelf(t.Context(), e, program); err != nil || again != ref {
		t.Fatalf("the second time: %q, %v; want %q", again, err, ref)
	}
	want := []string{ref, `ENTRYPOINT ["/spockchaos"]`, "LABEL io.spockchaos.image=self"}
	if !strings.HasPrefix(ref, "spockchaos/spockchaos:sha-") || !slices.Equal(e.imported, want) {
		t.Errorf("imported %q, want %q once", e.imported, want)
	}
	if len(e.root)%512 != 0 {
		t.Errorf("the archive has %d bytes, which is no number of blocks", len(e.root))
	}
	archive := tar.NewReader(bytes.NewReader(e.root))
	h, err := archive.Next()
	if err != nil || h.Name != "spockchaos" || h.Mode != 0o755 {
		t.Fatalf("first file: %+v, %v", h, err)
	}
	content, err := io.ReadAll(archive)
	if err != nil {
		t.Fatal(err)
	}
	if file, err := os.ReadFile(program); err != nil || !bytes.Equal(content, file) {
		t.Errorf("the file in the image is not the program (%v)", err)
	}
	if _, err := archive.Next(); err != io.EOF {
		t.Errorf("after the one file: %v", err)
	}
}

func TestEnsureSelfRefuses(t *testing.T) {
	text := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(text, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"/bin/sh": "dynamically linked", text: "no Linux program", filepath.Join(t.TempDir(), "none"): "no such file",
	} {
		e := &engine{}
		_, err := image.EnsureSelf(t.Context(), e, path)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") || e.imported != nil {
			t.Errorf("%s: error is %v, imported %q; want one line with %q and no import", path, err, e.imported, want)
		}
	}
}
