package attach

import (
	"fmt"
	"strings"

	"github.com/spockchaos/spockchaos/topology/server"
)

// Node is a server that should be there: the name of its node, and the conninfo by which this machine reaches it.
type Node struct{ Name, DSN string }

// ParseNode reads NAME=DSN.
func ParseNode(s string) (Node, error) {
	name, dsn, ok := strings.Cut(s, "=")
	name, dsn = strings.TrimSpace(name), strings.TrimSpace(dsn)
	if !ok || name == "" || dsn == "" || strings.ContainsAny(name, " \t/:@") {
		return Node{}, fmt.Errorf("%q is not NAME=DSN, as in n2=host=10.0.0.2 dbname=app", mask(s))
	}
	if _, err := server.ParseDSN(dsn); err != nil {
		return Node{}, fmt.Errorf("%s: %w", name, err) // the driver leaves the password out
	}
	return Node{name, dsn}, nil
}

// mask keeps what may be a password from being shown.
func mask(s string) string {
	if i := strings.Index(s, "password"); i >= 0 {
		return s[:i] + "…"
	}
	if i := strings.Index(s, "://"); i >= 0 {
		return s[:i] + "://…"
	}
	return s
}
