package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
)

// program is the built program: the tests here start it as a user does. It stays
// as TestMain set it.
var program string

func TestMain(m *testing.M) {
	code, err := testAll(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// testAll builds the program once, for all tests.
func testAll(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "spockchaos-program-")
	if err != nil {
		return 0, err
	}
	defer func() {
		if rerr := os.RemoveAll(dir); err == nil {
			err = rerr
		}
	}()
	program = filepath.Join(dir, "spockchaos")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // containers run it with nothing beside it
	out, err := build.CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("building the program: %w\n%s", err, out)
	}
	if code = m.Run(); code == 0 {
		err = goleak.Find()
	}
	return code, err
}
