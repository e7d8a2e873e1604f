package engine

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// Recoverer is an engine of whose builds some make and advance a recovery slot, and rescue, by themselves.
type Recoverer interface {
	// OwnRecovery says what the connected server lacks for that, "" if nothing. Before Wire it can tell less than after it.
	OwnRecovery(ctx context.Context, c *pgx.Conn) (lacks string, err error)
	// HoldOwnSlot keeps the connected server from making its recovery slot; it returns when new processes know that. FreeOwnSlot has it make the slot again, from its
	// next start on.
	HoldOwnSlot(ctx context.Context, c *pgx.Conn) error
	FreeOwnSlot(ctx context.Context, c *pgx.Conn) error
	// OwnRescues are the rescues of the server's own that are at work on the connected node.
	OwnRescues(ctx context.Context, c *pgx.Conn) ([]OwnRescue, error)
	// OwnLeftovers are what the server's own rescue has left on the connected node. Builds without one have none.
	OwnLeftovers(ctx context.Context, c *pgx.Conn) ([]Leftover, error)
}

// Leftover is something that a rescue should have taken away or put back.
type Leftover struct{ What, Name, Detail string }

// OwnRescue is a temporary subscription of the server's own rescue.
type OwnRescue struct {
	Name     string
	Provider string // the node from whose WAL it reads
	Stop     string // the position in that WAL up to which it shall apply; "0/0" for none
}
