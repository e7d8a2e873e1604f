package docker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/spockchaos/spockchaos/topology/owner"
)

// WatchdogEnd is the word by which a cluster tells its watchdog of itself; Destroy ends it.
const WatchdogEnd = "docker"

// destroyTries is how often Destroy looks again.
const destroyTries = 5

// Destroy removes everything of a run. It looks again until there is nothing: what the engine was making when
// the run was killed is there a moment later.
func Destroy(ctx context.Context, run string) error {
	if run == "" {
		return errors.New("no run is named")
	}
	api, err := Connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = api.Close() }()
	label := LabelRun + "=" + run
	for range destroyTries {
		found := 0
		err = remove(ctx, api, label, func(string) { found++ })
		if err == nil && found == 0 {
			return nil
		}
	}
	return err
}

// remove removes every container with a label, then every network and volume, and names each to told, which may be nil.
// It goes on after an error.
func remove(ctx context.Context, api API, label string, told func(what string)) error {
	var mu sync.Mutex
	tell := func(what string) {
		mu.Lock()
		defer mu.Unlock()
		if told != nil {
			told(what)
		}
	}
	var errs []error
	all := func(kind string, names []string, err error, remove func(context.Context, string) error) {
		errs = append(errs, err)
		var g errgroup.Group
		failed := make([]error, len(names))
		for i, name := range names {
			g.Go(func() error {
				if failed[i] = remove(ctx, name); failed[i] == nil {
					tell(kind + " " + name)
				} else {
					failed[i] = fmt.Errorf("removing %s %s: %w", kind, name, failed[i])
				}
				return nil
			})
		}
		_ = g.Wait()
		errs = append(errs, failed...)
	}
	containers, err := api.Containers(ctx, label)
	all("container", namesOf(containers, func(c Container) string { return cmp.Or(c.Name, c.ID) }), err, api.RemoveContainer)
	networks, err := api.Networks(ctx, label)
	all("network", namesOf(networks, func(n Network) string { return n.Name }), err, api.RemoveNetwork)
	volumes, err := api.Volumes(ctx, label)
	all("volume", namesOf(volumes, func(v Volume) string { return v.Name }), err, api.RemoveVolume)
	return errors.Join(errs...)
}

func namesOf[T any](list []T, name func(T) string) []string {
	names := make([]string, len(list))
	for i, v := range list {
		names[i] = name(v)
	}
	slices.Sort(names)
	return names
}

// Leftover is everything of one cluster that was found.
type Leftover struct {
	Run   string
	Owner owner.Owner
	State owner.State // of the owner
	Kept  bool        // left up on purpose
	Parts []string    // "container spockchaos-1234-n1"
}

// Leftovers are all clusters, in the order of their names.
func Leftovers(ctx context.Context, api API) ([]Leftover, error) {
	found := map[string]*Leftover{}
	var errs []error
	note := func(part string, labels map[string]string) {
		run := labels[LabelRun]
		l := found[run]
		if l == nil {
			l = &Leftover{Run: run}
			if o, err := owner.Parse(labels[LabelOwner]); err == nil {
				state, err := o.State()
				l.Owner, l.State = o, state
				errs = append(errs, err)
			}
			found[run] = l
		}
		l.Kept = l.Kept || labels[LabelKept] != ""
		l.Parts = append(l.Parts, part)
	}
	containers, err1 := api.Containers(ctx, LabelRun)
	for _, c := range containers {
		note("container "+cmp.Or(c.Name, c.ID), c.Labels)
	}
	networks, err2 := api.Networks(ctx, LabelRun)
	for _, n := range networks {
		note("network "+n.Name, n.Labels)
	}
	volumes, err3 := api.Volumes(ctx, LabelRun)
	for _, v := range volumes {
		note("volume "+v.Name, v.Labels)
	}
	if err := errors.Join(append(errs, err1, err2, err3)...); err != nil {
		return nil, fmt.Errorf("looking for clusters at %s: %w", api.Address(), err)
	}
	var all []Leftover
	for _, l := range found {
		slices.Sort(l.Parts)
		all = append(all, *l)
	}
	slices.SortFunc(all, func(a, b Leftover) int { return strings.Compare(a.Run, b.Run) })
	return all, nil
}

// Remove removes all of it and names each part to told.
func (l Leftover) Remove(ctx context.Context, api API, told func(part string)) error {
	return remove(ctx, api, LabelRun+"="+l.Run, told)
}
