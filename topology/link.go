package topology

import (
	"context"

	"github.com/spockchaos/spockchaos/topology/link"
)

// Link is a directed, breakable connection as chaos drives it, wherever it is held: in this process or in
// a container. Methods are safe for concurrent use; an error names the link and what was being done to it. After an
// error it is not known whether the change was made.
type Link interface {
	From() string // who dials: Client, or a subscriber
	To() string   // who is dialled
	Name() string // "from>to"
	// Addr is where the harness dials the link, "127.0.0.1:41234". It stays the same for the life of the link.
	Addr() string
	// Update changes the gate of a direction in one step, so that faults which overlap do not undo each other. f
	// sees in CutAfter what is left until the cut, 0 once it acted; it may be called more than once and must not
	// call the link.
	Update(ctx context.Context, d link.Direction, f func(link.Gate) link.Gate) error
	Stats(ctx context.Context) (link.Stats, error)
	// Refuse makes the link close new connections at once, with a reset; open ones stay.
	Refuse(ctx context.Context, on bool) error
	// Hold makes the link take new connections without dialling the server until Hold(false).
	Hold(ctx context.Context, on bool) error
	// Heal opens both gates and lets connections in again. Held bytes pass.
	Heal(ctx context.Context) error
	// Reset breaks every open connection, at both ends, and returns how many there were.
	Reset(ctx context.Context) (int, error)
}

// InProcess is a Link that this process holds itself. What a method does is done when it
// returns, whatever becomes of the context; only Reset can fail.
type InProcess struct{ *link.Link }

var _ Link = InProcess{}

func (l InProcess) Update(_ context.Context, d link.Direction, f func(link.Gate) link.Gate) error {
	l.Link.Update(d, f)
	return nil
}

func (l InProcess) Stats(context.Context) (link.Stats, error) { return l.Link.Stats(), nil }

func (l InProcess) Refuse(_ context.Context, on bool) error {
	l.Link.Refuse(on)
	return nil
}

func (l InProcess) Hold(_ context.Context, on bool) error {
	l.Link.Hold(on)
	return nil
}

func (l InProcess) Heal(context.Context) error {
	l.Link.Heal()
	return nil
}
