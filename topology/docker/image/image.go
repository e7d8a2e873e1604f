// Package image says which container images a cluster is made of: that of the nodes, by engine and PostgreSQL version, and
// that of this program, which it makes of the program's own file.
//
// It imports topology/docker; chaos, cmd and topology/compose import it.
package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spockchaos/spockchaos/topology/docker"
)

// Engine is what is asked of a container engine here. A docker.API has it.
type Engine interface {
	Image(ctx context.Context, ref string) (docker.Image, error)
	PullImage(ctx context.Context, ref string) error
	ImportImage(ctx context.Context, ref string, root io.Reader, instructions ...string) error
}

// family is the images of the nodes with one engine.
type family struct {
	format   string // with the major version of PostgreSQL
	data     string // where it keeps its data, with the version where that is in it
	versions []int  // newest first
	preset   int    // the version when any will do
	built    bool   // on this machine, by make image: in no registry
}

var families = map[string]family{
	"pglogical": {format: "spockchaos/node:pg%d-pglogical", data: "/var/lib/postgresql/data", versions: []int{18, 17, 15}, preset: 17, built: true},
	"spock":     {format: "ghcr.io/pgedge/pgedge-postgres:%d-spock5-standard", data: "/var/lib/pgsql/%d/data", versions: []int{18, 17}, preset: 18},
}

// Node is the image of a node.
type Node struct {
	Ref      string
	Postgres int    // major version
	Data     string // PGDATA, where the image has it
}

// Find is the image of a node with an engine on PostgreSQL pgVer, "" for the version that is usual with the engine. Whether
// anybody has that image is another question: ForEngine answers it.
func Find(engine, pgVer string) (Node, error) {
	f, major, err := find(engine, pgVer)
	if err != nil {
		return Node{}, err
	}
	if major == 0 {
		major = f.preset
	}
	return Node{Ref: f.ref(major), Postgres: major, Data: strings.ReplaceAll(f.data, "%d", strconv.Itoa(major))}, nil
}

// ForEngine is Find's image, once the engine's machine has it: one that is in a registry is pulled. With pgVer ""
// it is the newest that the machine already has.
func ForEngine(ctx context.Context, api Engine, engine, pgVer string) (string, error) {
	f, major, err := find(engine, pgVer)
	if err != nil {
		return "", err
	}
	candidates := f.versions
	if major != 0 {
		candidates = []int{major}
	}
	for _, v := range candidates {
		switch has, err := onMachine(ctx, api, f.ref(v)); {
		case err != nil:
			return "", err
		case has:
			return f.ref(v), nil
		}
	}
	if major == 0 {
		major = f.preset
	}
	ref := f.ref(major)
	if f.built {
		return "", fmt.Errorf("image %s is not on this machine: build it from Debian packages (make image PG=%d), or where a registry can be reached (docker build -f docker/Dockerfile --build-arg PG=%d -t %s .)",
			ref, major, major, ref)
	}
	if err := api.PullImage(ctx, ref); err != nil {
		return "", fmt.Errorf("image %s is not on this machine and cannot be pulled: %w", ref, err)
	}
	return ref, nil
}

func (f family) ref(major int) string { return fmt.Sprintf(f.format, major) }

// find looks a family up; major is 0 for pgVer "".
func find(engine, pgVer string) (f family, major int, err error) {
	f, ok := families[engine]
	if !ok {
		return f, 0, fmt.Errorf("no image has engine %q: there are %s", engine, strings.Join(slices.Sorted(maps.Keys(families)), " and "))
	}
	if pgVer == "" {
		return f, 0, nil
	}
	major, err = strconv.Atoi(pgVer)
	if err != nil || !slices.Contains(f.versions, major) {
		return f, 0, fmt.Errorf("no image has PostgreSQL %s with %s: there are %s", pgVer, engine, list(f.versions))
	}
	return f, major, nil
}

func list(versions []int) string {
	words := make([]string, len(versions))
	for i, v := range slices.Backward(versions) {
		words[len(versions)-1-i] = strconv.Itoa(v)
	}
	return strings.Join(words, ", ")
}

func onMachine(ctx context.Context, api Engine, ref string) (bool, error) {
	switch _, err := api.Image(ctx, ref); {
	case errors.Is(err, docker.ErrNotFound):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("looking for image %s: %w", ref, err)
	}
	return true, nil
}
