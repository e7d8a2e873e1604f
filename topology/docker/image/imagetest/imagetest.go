// Package imagetest gives tests the image of this program.
package imagetest

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/spockchaos/spockchaos/topology/docker/image"
)

// Program is this program's static executable: the one that SPOCKCHAOS_TEST_PROGRAM names, else it is built now.
func Program(t testing.TB) string {
	t.Helper()
	if path := os.Getenv("SPOCKCHAOS_TEST_PROGRAM"); path != "" {
		return path
	}
	path := filepath.Join(t.TempDir(), "spockchaos")
	build := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-trimpath", "-ldflags=-s -w", "-o", path,
		"github.com/spockchaos/spockchaos/cmd/spockchaos")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the program: %v\n%s", err, out)
	}
	return path
}

// Self is the reference of this program's image, which the engine has.
func Self(t testing.TB, api image.Engine) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	ref, err := image.EnsureSelf(ctx, api, Program(t))
	if err != nil {
		t.Fatal(err)
	}
	return ref
}
