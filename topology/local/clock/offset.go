package clock

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// size of an offset's file: an int64 of nanoseconds.
const size = 8

// Offset is by how much the clock of some processes differs from the machine's. It lives in a file, so it outlives them. Its methods are
// safe for concurrent use.
type Offset struct {
	path string

	mu     sync.Mutex
	memory []byte // nil once closed
}

// New makes the file of an offset of 0.
func New(path string) (*Offset, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	if err := f.Truncate(size); err != nil {
		return nil, err
	}
	memory, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("mapping %s: %w", path, err)
	}
	return &Offset{path: path, memory: memory}, nil
}

// Path of the file.
func (o *Offset) Path() string { return o.path }

// Set changes the offset, at once for every process that maps it.
func (o *Offset) Set(by time.Duration) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.memory == nil {
		return errors.New("the clock's offset is closed")
	}
	// In one piece: a write to the file could show half of it to who reads.
	atomic.StoreInt64((*int64)(unsafe.Pointer(&o.memory[0])), int64(by))
	return nil
}

// Close gives the file up; processes keep the clock that they have.
func (o *Offset) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.memory == nil {
		return nil
	}
	memory := o.memory
	o.memory = nil
	return unix.Munmap(memory)
}
