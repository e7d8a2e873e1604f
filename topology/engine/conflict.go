package engine

import (
	"context"
	"io"
	"time"

	"github.com/jackc/pgx/v5"
)

// ConflictLogger is an engine that settles conflicts by itself, each with an entry in the server log.
type ConflictLogger interface {
	// Origins are the nodes that the connected node's entries mean by a number. They hold while its subscriptions do.
	Origins(ctx context.Context, c *pgx.Conn) (Origins, error)
	// LoggedConflicts finds the entries in a server log, whose settings are those of topology/server. unread is how many are entries of
	// conflicts without doubt, and could not be made sense of.
	LoggedConflicts(log io.Reader, origins Origins, each func(Conflict) error) (unread int, err error)
}

// ConflictSaver is an engine that saves in tables of its own what became of conflicts and of changes that it could not apply.
type ConflictSaver interface {
	ConflictLogger
	// SavedConflicts are those of the connected node about tables of a schema, in the order in which they were saved.
	SavedConflicts(ctx context.Context, c *pgx.Conn, schema string, origins Origins, each func(Conflict) error) error
}

// Decider is an engine with settings that decide which of several changes stays and what becomes of one that fails.
type Decider interface {
	// Deciding are the names of those settings.
	Deciding() []string
}

// Origins are names of nodes, by the number that an engine writes for them: 0 is the node that writes.
type Origins map[int64]string

// Conflict is a change of another node's that met what it did not expect, and what the engine did about it.
type Conflict struct {
	Source     string // where the engine says so
	LoggedAt   time.Time
	Table      string // "chaos.register"
	Operation  Operation
	Resolution Resolution
	Remote     Version  // the change; its columns are those of the new row, of a delete no more than the key, or nil
	Local      *Version // the row that was there; nil if there was none
	Text       string   // the entry, short
}

// Version is what a transaction made of a row.
type Version struct {
	Columns     map[string]int64 // the whole numbers among them
	Origin      string           // the node that wrote it; "" if that is not known
	CommittedAt time.Time        // there; zero if that is not known
}

// Operation is what a change does to a row.
type Operation string

const (
	Insert Operation = "insert"
	Update Operation = "update"
	Delete Operation = "delete"
)

// Resolution says which version of a row a conflict, or an error, left.
type Resolution string

const (
	ApplyRemote Resolution = "apply_remote" // the change, over the row that was there
	KeepLocal   Resolution = "keep_local"   // the row that was there: the change was dropped
	Skip        Resolution = "skip"         // as before: the change was dropped, for want of its row or because the row was newer
	Discarded   Resolution = "discard"      // as before: the change failed
)

// GivenUp is the version that a conflict did away with: the change, or the row that it took the place of. It is nil if there is none.
func (c *Conflict) GivenUp() *Version {
	if c.Resolution == ApplyRemote {
		return c.Local
	}
	if c.Remote.Columns == nil && c.Local != nil { // a delete that names its row by what it found
		return &Version{Columns: c.Local.Columns, Origin: c.Remote.Origin, CommittedAt: c.Remote.CommittedAt}
	}
	return &c.Remote
}
