// Package owner tells whether the process that made something still lives, for whoever finds that thing later.
package owner

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Owner is a process in a form that outlives it: no other process is ever taken for it.
type Owner struct {
	PID     int
	Started uint64 // clock ticks since boot
	Boot    string // the boot's id
	Space   string // the namespace in which PID counts
}

// State is what became of an owner.
type State int

const (
	// Unknown: its process ids are those of another namespace, so that it cannot be seen from here.
	Unknown State = iota
	Alive
	Dead
)

// Self is this process.
func Self() (Owner, error) {
	boot, space, err := here()
	if err != nil {
		return Owner{}, fmt.Errorf("naming this process: %w", err)
	}
	started, err := startOf(os.Getpid())
	if err != nil {
		return Owner{}, fmt.Errorf("naming this process: %w", err)
	}
	return Owner{PID: os.Getpid(), Started: started, Boot: boot, Space: space}, nil
}

func here() (boot, space string, err error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", "", err
	}
	link, err := os.Readlink("/proc/self/ns/pid") // "pid:[4026531836]"
	if err != nil {
		return "", "", err
	}
	return strings.TrimSpace(string(b)), strings.Trim(strings.TrimPrefix(link, "pid:"), "[]"), nil
}

// startOf is when a process started, an error if there is none.
func startOf(pid int) (uint64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The name may hold anything: the fields are counted from the parenthesis after it.
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 20 {
		return 0, errors.New("a process without a start time")
	}
	if f[0] == "Z" || f[0] == "X" {
		return 0, os.ErrNotExist
	}
	return strconv.ParseUint(f[19], 10, 64)
}

// String is "PID/started/boot/space", which Parse reads.
func (o Owner) String() string {
	return fmt.Sprintf("%d/%d/%s/%s", o.PID, o.Started, o.Boot, o.Space)
}

// Parse reads what String wrote.
func Parse(s string) (Owner, error) {
	f := strings.Split(strings.TrimSpace(s), "/")
	if len(f) != 4 || f[2] == "" || f[3] == "" {
		return Owner{}, fmt.Errorf("%q names no process", s)
	}
	pid, err := strconv.Atoi(f[0])
	if err != nil || pid < 1 {
		return Owner{}, fmt.Errorf("%q names no process", s)
	}
	started, err := strconv.ParseUint(f[1], 10, 64)
	if err != nil {
		return Owner{}, fmt.Errorf("%q names no process", s)
	}
	return Owner{PID: pid, Started: started, Boot: f[2], Space: f[3]}, nil
}

// State looks for the owner.
func (o Owner) State() (State, error) {
	boot, space, err := here()
	switch {
	case err != nil:
		return Unknown, err
	case boot != o.Boot:
		return Dead, nil
	case space != o.Space:
		return Unknown, nil
	}
	started, err := startOf(o.PID)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return Dead, nil
	case err != nil:
		return Unknown, err
	case started != o.Started:
		return Dead, nil
	}
	return Alive, nil
}
