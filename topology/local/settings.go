package local

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// settings of one server; see docs/architecture.md for why fsync is off.
func settings(o *Options, version int, hasPluginList bool, port int, socketDir string) map[string]string {
	// Each node feeds and follows all others; a rescue needs a few more of everything.
	peers := 2*o.Nodes + 12
	s := map[string]string{
		"listen_addresses":           "127.0.0.1",
		"port":                       strconv.Itoa(port),
		"unix_socket_directories":    socketDir,
		"password_encryption":        "scram-sha-256",
		"max_connections":            "100",
		"shared_buffers":             "64MB",
		"dynamic_shared_memory_type": "mmap", // in the data directory: a killed server leaves nothing in /dev/shm
		"fsync":                      "off",
		"full_page_writes":           "on",
		"wal_level":                  "logical",
		"min_wal_size":               "32MB",
		"max_wal_size":               "512MB",
		"checkpoint_timeout":         "5min",
		"track_commit_timestamp":     "on",
		"max_worker_processes":       strconv.Itoa(peers + 8),
		"max_wal_senders":            strconv.Itoa(peers),
		"max_replication_slots":      strconv.Itoa(peers),
		"wal_sender_timeout":         "5s",
		"wal_receiver_timeout":       "5s",
		"tcp_keepalives_idle":        "2",
		"tcp_keepalives_interval":    "1",
		"tcp_keepalives_count":       "3",
		"autovacuum":                 "on",
		"jit":                        "off",
		"logging_collector":          "off", // standard error is the node's server.log
		"log_destination":            "stderr",
		"log_line_prefix":            "%m [%p] %q%a ",
		"log_timezone":               "UTC",
		"timezone":                   "UTC",
		"log_min_messages":           "warning",
		"log_min_error_statement":    "fatal", // each walsender's start would log its long command
		"lc_messages":                "C",     // messages are looked for in the log
		"max_prepared_transactions":  "10",
	}
	if version >= 180000 {
		s["max_active_replication_origins"] = strconv.Itoa(peers)
	}
	if hasPluginList {
		s["output_plugin_libraries"] = "pgoutput, test_decoding, " + o.Engine.Name() + "_output"
	}
	maps.Copy(s, o.Engine.Settings(version))
	maps.Copy(s, o.Settings)
	return s
}

// writeSettings adds settings to a data directory's postgresql.conf.
func writeSettings(dataDir string, s map[string]string) error {
	var b strings.Builder
	b.WriteString("\n# spockchaos\n")
	for _, k := range slices.Sorted(maps.Keys(s)) {
		fmt.Fprintf(&b, "%s = %s\n", k, confValue(s[k]))
	}
	f, err := os.OpenFile(filepath.Join(dataDir, "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if _, err := f.WriteString(b.String()); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}

// confValue quotes a value for postgresql.conf. A quoted string is a list there too, since
// the file's quotes are taken off before the list is read.
func confValue(v string) string {
	return "'" + strings.NewReplacer("'", "''", `\`, `\\`, "\n", `\n`).Replace(v) + "'"
}

const hba = `# spockchaos
local all all scram-sha-256
host all all 127.0.0.1/32 scram-sha-256
host replication all 127.0.0.1/32 scram-sha-256
`
