// Package clean removes what killed runs left behind, whatever their clusters were made of, and nothing else.
package clean

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spockchaos/spockchaos/topology/docker"
	"github.com/spockchaos/spockchaos/topology/local"
	"github.com/spockchaos/spockchaos/topology/owner"
)

// limit bounds the removal of one cluster.
const limit = 2 * time.Minute

// Options say what Run does.
type Options struct {
	DryRun bool // only says what it would do
	Kept   bool // clusters that were left up on purpose go as well
	// Parent is where local clusters have their directories, "" for the temporary directory.
	Parent string
	// Connect finds the container engine.
	Connect func(context.Context) (docker.API, error)
}

// cleaner tells what it does, a line for each thing.
type cleaner struct {
	opts   Options
	out    io.Writer
	count  int // of things removed
	failed []error
}

// Run looks for clusters, removes those whose owner is dead, and writes a line to out for each thing that it removed or skipped.
// An error about one of them does not keep it from the others.
func Run(ctx context.Context, opts Options, out io.Writer) error {
	c := &cleaner{opts: opts, out: out}
	c.note(c.local(ctx))
	c.note(c.docker(ctx))
	if c.count == 0 && len(c.failed) == 0 {
		c.say("nothing to remove")
	}
	return errors.Join(c.failed...)
}

func (c *cleaner) note(err error) {
	if err != nil {
		c.failed = append(c.failed, err)
	}
}

func (c *cleaner) say(format string, args ...any) {
	_, err := fmt.Fprintf(c.out, format+"\n", args...)
	c.note(err)
}

// removed tells of one thing.
func (c *cleaner) removed(what string) {
	c.count++
	if c.opts.DryRun {
		c.say("would remove %s", what)
		return
	}
	c.say("removed %s", what)
}

// spares says whether a cluster stays, and why.
func (c *cleaner) spares(what string, who owner.Owner, state owner.State, kept bool) bool {
	switch {
	case state == owner.Alive:
		c.say("skipped %s: process %d, which made it, still runs", what, who.PID)
	case kept && !c.opts.Kept:
		c.say("skipped %s: it was left up with --keep; --kept removes it as well", what)
	case state == owner.Unknown:
		c.say("skipped %s: it cannot be seen from here whether the process that made it still runs", what)
	default:
		return false
	}
	return true
}

func (c *cleaner) local(ctx context.Context) error {
	all, err := local.Leftovers(c.opts.Parent)
	if err != nil {
		return err
	}
	for _, l := range all {
		what := "directory " + l.Root
		if c.spares(what, l.Owner, l.State, l.Kept) {
			continue
		}
		if n := len(l.Servers); n > 0 {
			what += fmt.Sprintf(" and ended the %d server processes in it", n)
			if c.opts.DryRun {
				what = fmt.Sprintf("directory %s and end the %d server processes in it", l.Root, n)
			}
		}
		if !c.opts.DryRun {
			ctx, cancel := context.WithTimeout(ctx, limit)
			err := l.Remove(ctx)
			cancel()
			if err != nil {
				c.note(fmt.Errorf("removing directory %s: %w", l.Root, err))
				continue
			}
		}
		c.removed(what)
	}
	return nil
}

func (c *cleaner) docker(ctx context.Context) error {
	api, err := c.opts.Connect(ctx)
	if err != nil {
		c.say("looked for local clusters only: %v", err)
		return nil
	}
	defer func() { _ = api.Close() }()
	all, err := docker.Leftovers(ctx, api)
	if err != nil {
		return err
	}
	for _, l := range all {
		if c.spares(fmt.Sprintf("containers of run %s", l.Run), l.Owner, l.State, l.Kept) {
			continue
		}
		if c.opts.DryRun {
			for _, part := range l.Parts {
				c.removed(part)
			}
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, limit)
		c.note(l.Remove(ctx, api, c.removed))
		cancel()
	}
	return nil
}
