package local

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spockchaos/spockchaos/topology/wait"
)

// pollEvery is how often something that sends no event is looked at.
const pollEvery = 5 * time.Millisecond

// sendSignal sends sig to a process if it is still the one that was seen. A process that is gone is no error.
func sendSignal(p process, sig unix.Signal) error {
	now, ok := look(p.pid)
	if !ok || now.started != p.started {
		return nil
	}
	if err := unix.Kill(p.pid, sig); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("sending %s to process %d: %w", unix.SignalName(sig), p.pid, err)
	}
	return nil
}

// killServers ends every server process in dir with SIGKILL and returns when none is left.
//
// Backends are session leaders, so no signal to a group reaches them all. The postmaster
// is stopped first, else it could fork between the listing and the kill.
func killServers(ctx context.Context, dir string) error {
	for round := 0; ; round++ {
		all, err := serversIn(dir)
		if err != nil {
			return err
		}
		if len(all) == 0 {
			return nil
		}
		if round == 0 {
			if err := stopAll(ctx, dir); err != nil {
				return err
			}
			if all, err = serversIn(dir); err != nil {
				return err
			}
		}
		for _, p := range all {
			if err := sendSignal(p, unix.SIGKILL); err != nil {
				return err
			}
		}
		if err := wait.For(ctx, pollEvery); err != nil {
			return fmt.Errorf("killing the servers in %s: %d processes are left: %w", dir, len(all), err)
		}
	}
}

// stopAll sends SIGSTOP to every server process in dir, parents first, until a look finds all of them
// stopped: what the postmaster forked meanwhile is found by the next look.
func stopAll(ctx context.Context, dir string) error {
	for {
		all, err := serversIn(dir)
		if err != nil {
			return err
		}
		moving := 0
		for _, p := range parentsFirst(all) {
			if p.state == 'T' || p.state == 't' {
				continue
			}
			moving++
			if err := sendSignal(p, unix.SIGSTOP); err != nil {
				return err
			}
		}
		if moving == 0 {
			return nil
		}
		if err := wait.For(ctx, time.Millisecond); err != nil {
			return fmt.Errorf("stopping the processes in %s: %d still run: %w", dir, moving, err)
		}
	}
}

// continueAll sends SIGCONT to every server process in dir, children first, so that none
// of them finds a postmaster that acts on a state it does not know.
func continueAll(ctx context.Context, dir string) error {
	for {
		all, err := serversIn(dir)
		if err != nil {
			return err
		}
		stopped := 0
		order := parentsFirst(all)
		for i := len(order) - 1; i >= 0; i-- {
			if p := order[i]; p.state == 'T' || p.state == 't' {
				stopped++
				if err := sendSignal(p, unix.SIGCONT); err != nil {
					return err
				}
			}
		}
		if stopped == 0 {
			return nil
		}
		if err := wait.For(ctx, time.Millisecond); err != nil {
			return fmt.Errorf("continuing the processes in %s: %d are still stopped: %w", dir, stopped, err)
		}
	}
}

// parentsFirst puts processes whose parent is not in the list before the others.
func parentsFirst(all []process) []process {
	in := make(map[int]bool, len(all))
	for _, p := range all {
		in[p.pid] = true
	}
	var roots, rest []process
	for _, p := range all {
		if in[p.parent] {
			rest = append(rest, p)
		} else {
			roots = append(roots, p)
		}
	}
	return append(roots, rest...)
}
