package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spockchaos/spockchaos/topology/owner"
)

// marker is a file in a cluster's directory that says whose it is: an owner.Owner, and in a second line "kept" if the
// cluster was left up on purpose. No directory without it is ever removed.
const marker = ".spockchaos-cluster"

const kept = "kept"

// rootPrefix begins the name of a cluster's directory.
const rootPrefix = "spockchaos-"

func writeMarker(root string, detached bool) error {
	self, err := owner.Self()
	if err != nil {
		return err
	}
	text := self.String() + "\n"
	if detached {
		text += kept + "\n"
	}
	return os.WriteFile(filepath.Join(root, marker), []byte(text), 0o600)
}

// Leftover is a cluster's directory that was found.
type Leftover struct {
	Root  string
	Owner owner.Owner
	State owner.State // of the owner
	Kept  bool        // left up on purpose
	// Servers are the ids of the server processes that work in it.
	Servers []int
}

// Leftovers are the clusters' directories in parent, "" for the temporary directory. What
// belongs to others and cannot be looked into is not among them.
func Leftovers(parent string) ([]Leftover, error) {
	if parent == "" {
		parent = os.TempDir()
	}
	parent, err := filepath.EvalSymlinks(parent) // processes are known by their working directory, which has none
	if err != nil {
		return nil, fmt.Errorf("looking for clusters: %w", err)
	}
	entries, err := os.ReadDir(parent)
	if err != nil {
		return nil, fmt.Errorf("looking for clusters: %w", err)
	}
	var all []Leftover
	for _, e := range entries {
		if !e.IsDir() || !strings.HasPrefix(e.Name(), rootPrefix) {
			continue
		}
		root := filepath.Join(parent, e.Name())
		l, err := readMarker(root)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("looking at %s: %w", root, err)
		}
		servers, err := serversIn(root)
		if err != nil {
			return nil, fmt.Errorf("looking at %s: %w", root, err)
		}
		for _, p := range servers {
			l.Servers = append(l.Servers, p.pid)
		}
		all = append(all, l)
	}
	return all, nil
}

func readMarker(root string) (Leftover, error) {
	l := Leftover{Root: root}
	b, err := os.ReadFile(filepath.Join(root, marker))
	if err != nil {
		return l, err
	}
	who, rest, _ := strings.Cut(string(b), "\n")
	if l.Owner, err = owner.Parse(who); err != nil {
		return l, nil // it is just being written: not known
	}
	l.Kept = strings.TrimSpace(rest) == kept
	l.State, err = l.Owner.State()
	return l, err
}

// Remove ends the servers and removes the directory.
func (l Leftover) Remove(ctx context.Context) error { return Destroy(ctx, l.Root) }
