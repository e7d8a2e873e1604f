package engine

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Member is a node as an engine sees it: a name, a way in for set-up (direct), and
// the conninfo by which each other node reaches it (through links).
type Member struct {
	Name string
	DSN  string
	// PeerDSN[p] is the conninfo by which node p reaches this node. Where DSN means nothing to the server itself
	// (it leads through a port that is published elsewhere), PeerDSN has the node's own name as well.
	PeerDSN map[string]string
}

// Subscription is one subscriber's subscription to one provider.
type Subscription struct {
	Name     string
	Provider string // node name
	Status   string // "replicating", "disabled", "down", "initializing"
	Slot     string // slot on the provider
	Origin   string // replication origin on the subscriber
	// NodeOrigin is another replication origin on the subscriber that can show how far it has come with the provider;
	// the higher of both counts. Empty if the engine knows none.
	NodeOrigin string
}

// OwnDSN is the conninfo by which the member's server reaches itself.
func (m Member) OwnDSN() string {
	if dsn, ok := m.PeerDSN[m.Name]; ok {
		return dsn
	}
	return m.DSN
}

// Engine wires a mesh and answers for it. All methods take a connection to the
// node they are about and obey its context. Implementations hold no state.
type Engine interface {
	// Name is the engine's flag value and the stem of its file in sql/.
	Name() string
	// Available says whether an installation has the engine, and in which version; a
	// non-nil error names what is missing.
	Available(in Installation) (version string, err error)
	// Settings are the postgresql.conf settings that the engine needs on a server of this
	// version (PG_VERSION_NUM, 150018).
	Settings(versionNum int) map[string]string
	// Wire makes every member a node and subscribes each to each other: no forwarding,
	// last update wins. It returns when every subscription replicates. What is there and right
	// stays as it is, so it may be called again, also on a mesh that is half made or damaged.
	Wire(ctx context.Context, members []Member) error
	// AddTables puts tables (schema-qualified) into the replication sets: keyed with all
	// changes, insertOnly with inserts and truncates. To be called on every node.
	AddTables(ctx context.Context, c *pgx.Conn, keyed, insertOnly []string) error
	// NodeName is the connected node's name; it fails where the database is no node.
	NodeName(ctx context.Context, c *pgx.Conn) (string, error)
	// Subscriptions of the connected node, those of the mesh: the temporary one of a rescue of the server's own is not among them.
	Subscriptions(ctx context.Context, c *pgx.Conn) ([]Subscription, error)
	// Disable and Enable the connected subscriber's subscription to a provider, at once.
	// Disable returns when the apply worker is gone.
	Disable(ctx context.Context, c *pgx.Conn, provider string) error
	Enable(ctx context.Context, c *pgx.Conn, provider string) error
	// ApplyWorkers are the backend pids of the connected subscriber's apply workers for a
	// provider; WalSenders those of the connected provider's walsenders for a subscriber.
	ApplyWorkers(ctx context.Context, c *pgx.Conn, provider string) ([]int32, error)
	WalSenders(ctx context.Context, c *pgx.Conn, subscriber string) ([]int32, error)
	// DropNode removes a lost node's subscription from the connected survivor.
	DropNode(ctx context.Context, c *pgx.Conn, failed string) error
}

// Restart disables and enables the connected subscriber's subscription to a provider. An engine
// that waits long before it tries again after a failure forgets the failure so, and starts at once.
func Restart(ctx context.Context, e Engine, c *pgx.Conn, provider string) error {
	if err := e.Disable(ctx, c, provider); err != nil {
		return err
	}
	return e.Enable(ctx, c, provider)
}

// Progress is how far the connected subscriber has come in the provider's WAL, durably: what it says is
// flushed first, because apply workers commit asynchronously. "0/0": nothing yet.
func Progress(ctx context.Context, c *pgx.Conn, s Subscription) (lsn string, err error) {
	err = c.QueryRow(ctx, `SELECT coalesce(max(pg_replication_origin_progress(roname, true)), '0/0')::text
		FROM pg_replication_origin WHERE roname IN ($1, $2)`, s.Origin, s.NodeOrigin).Scan(&lsn)
	if err != nil {
		return "", fmt.Errorf("reading the progress of subscription %s: %w", s.Name, err)
	}
	return lsn, nil
}
