package server

import "github.com/jackc/pgx/v5"

// libpqOnly are keywords of a conninfo that libpq knows and our driver takes for settings of the session, which no server knows.
var libpqOnly = []string{
	"keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout", "fallback_application_name",
	"gssencmode", "gsslib", "gssdelegation", "sslcompression", "sslcrl", "sslcrldir", "requirepeer", "requiressl", "replication", "client_encoding",
}

// ParseDSN reads a conninfo or URI that was made for libpq, as those in an engine's catalogs are.
func ParseDSN(dsn string) (*pgx.ConnConfig, error) {
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, err
	}
	for _, key := range libpqOnly {
		delete(cfg.RuntimeParams, key)
	}
	return cfg, nil
}
