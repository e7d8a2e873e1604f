package clock_test

import (
	"bufio"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spockchaos/spockchaos/topology/local/clock"
)

func build(t *testing.T) string {
	t.Helper()
	lib, err := clock.Build(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return lib
}

// reader prints, for every byte that it reads, what each clock says in nanoseconds.
const reader = `
#include <stdio.h>
#include <sys/time.h>
#include <time.h>
static void show(clockid_t id) {
	struct timespec t;
	clock_gettime(id, &t);
	printf("%lld ", t.tv_sec * 1000000000LL + t.tv_nsec);
}
int main(void) {
	while (getchar() != EOF) {
		struct timeval tv;
		time_t s;
		show(CLOCK_REALTIME);
		show(CLOCK_REALTIME_COARSE);
		gettimeofday(&tv, NULL);
		printf("%lld ", tv.tv_sec * 1000000000LL + tv.tv_usec * 1000LL);
		printf("%lld ", time(&s) * 1000000000LL);
		printf("%lld ", s * 1000000000LL);
		show(CLOCK_MONOTONIC);
		show(CLOCK_BOOTTIME);
		printf("\n");
		fflush(stdout);
	}
	return 0;
}`

func now(t *testing.T, id int32) int64 {
	t.Helper()
	var ts unix.Timespec
	if err := unix.ClockGettime(id, &ts); err != nil {
		t.Fatal(err)
	}
	return ts.Nano()
}

// A process that runs sees each change of the offset at its next look, in every clock of the day and in no other.
func TestClocks(t *testing.T) {
	lib, dir := build(t), t.TempDir()
	program := filepath.Join(dir, "reader")
	cc := exec.Command("cc", "-x", "c", "-o", program, "-")
	cc.Stdin = strings.NewReader(reader)
	if out, err := cc.CombinedOutput(); err != nil {
		t.Fatalf("compiling the reader: %v: %s", err, out)
	}
	offset, err := clock.New(filepath.Join(dir, "offset"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := offset.Close(); err != nil {
			t.Error(err)
		}
		if err := offset.Set(time.Second); err == nil {
			t.Error("a closed offset was set")
		}
	}()
	cmd := exec.Command(program)
	cmd.Env = clock.Environ(os.Environ(), lib, offset.Path())
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for _, by := range []time.Duration{0, 1, -1, 700 * time.Millisecond, -700 * time.Millisecond, 300 * time.Second, -300*time.Second - 999_999_999, 0} {
		if err := offset.Set(by); err != nil {
			t.Fatal(err)
		}
		realBefore, monotonicBefore, bootBefore := now(t, unix.CLOCK_REALTIME), now(t, unix.CLOCK_MONOTONIC), now(t, unix.CLOCK_BOOTTIME)
		if _, err := io.WriteString(in, "\n"); err != nil {
			t.Fatal(err)
		}
		if !lines.Scan() {
			t.Fatal("the reader ended")
		}
		realAfter, monotonicAfter, bootAfter := now(t, unix.CLOCK_REALTIME), now(t, unix.CLOCK_MONOTONIC), now(t, unix.CLOCK_BOOTTIME)
		var got [7]int64
		if _, err := fmt.Sscan(lines.Text(), &got[0], &got[1], &got[2], &got[3], &got[4], &got[5], &got[6]); err != nil {
			t.Fatal(err)
		}
		const tick = 20 * int64(time.Millisecond) // a coarse clock is up to a tick of the kernel behind
		for i, c := range []struct {
			name          string
			from, to, lag int64 // what the machine's clock said before and after; how far the reader's may be behind
		}{
			{"CLOCK_REALTIME", realBefore + int64(by), realAfter + int64(by), 0},
			{"CLOCK_REALTIME_COARSE", realBefore + int64(by), realAfter + int64(by), tick},
			{"gettimeofday", realBefore + int64(by), realAfter + int64(by), int64(time.Microsecond)},
			{"time", realBefore + int64(by), realAfter + int64(by), int64(time.Second) + tick},
			{"time's argument", realBefore + int64(by), realAfter + int64(by), int64(time.Second) + tick},
			{"CLOCK_MONOTONIC", monotonicBefore, monotonicAfter, 0},
			{"CLOCK_BOOTTIME", bootBefore, bootAfter, 0},
		} {
			if got[i] < c.from-c.lag || got[i] > c.to {
				t.Errorf("%s at an offset of %s is %d, want %d to %d", c.name, by, got[i], c.from-c.lag, c.to)
			}
		}
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// The library asks for no version of any symbol and for no other library, so it loads beside any libc.
func TestLoadsBesideAnyLibc(t *testing.T) {
	f, err := elf.Open(build(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	libraries, err := f.ImportedLibraries()
	if err != nil || len(libraries) > 0 {
		t.Errorf("libraries %v, %v", libraries, err)
	}
	symbols, err := f.ImportedSymbols()
	if err != nil || len(symbols) == 0 {
		t.Errorf("symbols %v, %v", symbols, err)
	}
	for _, s := range symbols {
		if s.Version != "" || s.Library != "" {
			t.Errorf("%s is wanted of %s, version %s", s.Name, s.Library, s.Version)
		}
	}
}

func TestEnviron(t *testing.T) {
	got := strings.Join(clock.Environ([]string{"A=1", "LD_PRELOAD=/x.so", "B=2"}, "/clock.so", "/offset"), " ")
	if got != "A=1 B=2 LD_PRELOAD=/clock.so:/x.so SPOCKCHAOS_CLOCK=/offset" {
		t.Error(got)
	}
}

func TestBuildSaysWhatIsMissing(t *testing.T) {
	t.Run("works", func(t *testing.T) {
		if err := clock.Check(t.Context()); err != nil {
			t.Error(err)
		}
	})
	t.Run("no compiler", func(t *testing.T) {
		t.Setenv("PATH", t.TempDir())
		t.Setenv("CC", "")
		if err := clock.Check(t.Context()); !errors.Is(err, clock.ErrNoCompiler) || !strings.Contains(err.Error(), "apt-get install gcc libc6-dev") {
			t.Error(err)
		}
	})
	t.Run("no headers", func(t *testing.T) {
		cc := filepath.Join(t.TempDir(), "cc")
		script := "#!/bin/sh\necho \"<stdin>:15:10: fatal error: dlfcn.h: No such file or directory\ncompilation terminated.\" >&2\nexit 1\n"
		if err := os.WriteFile(cc, []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
		t.Setenv("CC", cc)
		err := clock.Check(t.Context())
		if !errors.Is(err, clock.ErrNoCompiler) || !strings.Contains(err.Error(), "dlfcn.h") || strings.Contains(err.Error(), "\n") {
			t.Error(err)
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := clock.Check(ctx); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	t.Run("a blank", func(t *testing.T) {
		if _, err := clock.Build(t.Context(), "/tmp/with blank"); err == nil || !strings.Contains(err.Error(), "TMPDIR") {
			t.Error(err)
		}
	})
}

// What a cluster waits for its library.
func BenchmarkBuild(b *testing.B) {
	for b.Loop() {
		if _, err := clock.Build(b.Context(), b.TempDir()); err != nil {
			b.Fatal(err)
		}
	}
}
