package local

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// pidfile is what postmaster.pid says: who serves a data directory.
type pidfile struct {
	pid     int
	dataDir string
	port    int // 0 while the server is still starting
	shm     int // System V shared memory segment, -1 if it is not written yet
}

// parsePidfile reads the lines that PostgreSQL documents in miscadmin.h: pid, data directory,
// start time, port, socket directory, listen address, shared memory key and id, status.
// The later lines are added while the server starts.
func parsePidfile(b []byte) (pidfile, error) {
	lines := strings.Split(string(bytes.TrimRight(b, "\n")), "\n")
	if len(lines) < 2 {
		return pidfile{}, errors.New("too short")
	}
	f := pidfile{dataDir: lines[1], shm: -1}
	var err error
	// A standalone backend writes its pid negated.
	if f.pid, err = strconv.Atoi(strings.TrimSpace(lines[0])); err != nil {
		return pidfile{}, fmt.Errorf("process id: %w", err)
	}
	if len(lines) > 3 {
		if f.port, err = strconv.Atoi(strings.TrimSpace(lines[3])); err != nil {
			return pidfile{}, fmt.Errorf("port: %w", err)
		}
	}
	if len(lines) > 6 {
		if w := strings.Fields(lines[6]); len(w) == 2 {
			if f.shm, err = strconv.Atoi(w[1]); err != nil {
				return pidfile{}, fmt.Errorf("shared memory id: %w", err)
			}
		}
	}
	return f, nil
}

// dropSharedMemory removes the small System V segment that a killed server leaves behind. A server
// that starts again on the data directory would do it, but here the directory goes away.
func dropSharedMemory(dataDir string) {
	b, err := os.ReadFile(filepath.Join(dataDir, "postmaster.pid"))
	if err != nil {
		return
	}
	f, err := parsePidfile(b)
	if err != nil || f.shm < 0 || f.dataDir != dataDir {
		return
	}
	var info unix.SysvShmDesc
	if _, err := unix.SysvShmCtl(f.shm, unix.IPC_STAT, &info); err != nil || info.Nattch != 0 {
		return // gone, or somebody uses it: not ours any more
	}
	_, _ = unix.SysvShmCtl(f.shm, unix.IPC_RMID, nil)
}
