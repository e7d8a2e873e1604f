// Package clock gives server processes a wall clock that differs from the machine's, by a library that they preload.
//
// The library is compiled where it is needed: Build takes the machine's C compiler. It is not kept, since a
// compilation takes a fifth of a second and a library in a cache might be out of reach for the servers' account.
package clock

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

//go:embed preload/clock.c
var source []byte

// variable names the offset's file to the library (preload/clock.c).
const variable = "SPOCKCHAOS_CLOCK"

// buildLimit bounds a compilation.
const buildLimit = time.Minute

// ErrNoCompiler is what Build says where no C compiler makes a library of the source.
var ErrNoCompiler = errors.New("a C compiler is needed: apt-get install gcc libc6-dev")

// Build compiles the library into dir, readable by everybody, and returns its path.
func Build(ctx context.Context, dir string) (string, error) {
	// LD_PRELOAD separates names by blanks and colons, and knows no quotes.
	if strings.ContainsAny(dir, " :") {
		return "", fmt.Errorf("a library in %s cannot be preloaded: set TMPDIR to a directory without blank and colon", dir)
	}
	cc, err := compiler()
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, buildLimit)
	defer cancel()
	lib := filepath.Join(dir, "clock.so")
	// Without libraries no symbol is bound to a version of libc's (preload/clock.c); what would call into the compiler's own is left out.
	cmd := exec.CommandContext(ctx, cc, "-std=gnu11", "-O2", "-fPIC", "-shared", "-nostdlib", "-fno-stack-protector",
		"-U_FORTIFY_SOURCE", "-x", "c", "-o", lib, "-")
	cmd.Stdin = strings.NewReader(string(source))
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	if out, err := cmd.CombinedOutput(); err != nil {
		if ctx.Err() != nil {
			return "", fmt.Errorf("compiling the library of clocks: %w", ctx.Err())
		}
		first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		return "", fmt.Errorf("%w (%s: %v: %s)", ErrNoCompiler, cc, err, first)
	}
	return lib, os.Chmod(lib, 0o755)
}

// Check says whether Build would work, by a trial of it.
func Check(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "spockchaos-cc-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	_, err = Build(ctx, dir)
	return err
}

// compiler is the one that CC names, or the first of the usual names.
func compiler() (string, error) {
	names := []string{"cc", "gcc", "clang"}
	if named := os.Getenv("CC"); named != "" {
		names = []string{named}
	}
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", ErrNoCompiler
}

// Environ is env for processes that are to preload lib and to have the clock whose offset is at path.
func Environ(env []string, lib, path string) []string {
	var out []string
	for _, kv := range env {
		if others, ok := strings.CutPrefix(kv, "LD_PRELOAD="); ok {
			lib += ":" + others
			continue
		}
		out = append(out, kv)
	}
	return append(out, "LD_PRELOAD="+lib, variable+"="+path)
}
