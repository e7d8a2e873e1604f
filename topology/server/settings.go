package server

import (
	"maps"
	"strconv"

	"github.com/spockchaos/spockchaos/topology/engine"
)

// Database is the database of every node, Superuser its owner.
const (
	Database  = "chaos"
	Superuser = "spockchaos"
)

// PluginList is the setting that names the output plugins which a server trusts; older servers do not know it.
const PluginList = "output_plugin_libraries"

// Settings are the settings of each server of a cluster of so many nodes, the engine's among them; see
// docs/architecture.md for why fsync is off. version is PG_VERSION_NUM (150018), hasPluginList says that the server knows PluginList.
func Settings(nodes, version int, hasPluginList bool, eng engine.Engine) map[string]string {
	// Each node feeds and follows all others; a rescue needs a few more of everything.
	peers := 2*nodes + 12
	s := map[string]string{
		"password_encryption":       "scram-sha-256",
		"max_connections":           "100",
		"shared_buffers":            "64MB",
		"fsync":                     "off",
		"full_page_writes":          "on",
		"wal_level":                 "logical",
		"min_wal_size":              "32MB",
		"max_wal_size":              "512MB",
		"checkpoint_timeout":        "5min",
		"track_commit_timestamp":    "on",
		"max_worker_processes":      strconv.Itoa(peers + 8),
		"max_wal_senders":           strconv.Itoa(peers),
		"max_replication_slots":     strconv.Itoa(peers),
		"wal_sender_timeout":        "5s",
		"wal_receiver_timeout":      "5s",
		"tcp_keepalives_idle":       "2",
		"tcp_keepalives_interval":   "1",
		"tcp_keepalives_count":      "3",
		"autovacuum":                "on",
		"jit":                       "off",
		"logging_collector":         "off", // standard error is the log that Node.Log reads
		"log_destination":           "stderr",
		"log_line_prefix":           "%m [%p] %q%a ", // engines look for their workers' messages by it
		"log_timezone":              "UTC",
		"timezone":                  "UTC",
		"log_min_messages":          "warning",
		"log_min_error_statement":   "fatal", // each walsender's start would log its long command
		"lc_messages":               "C",     // messages are looked for in the log
		"max_prepared_transactions": "10",
	}
	if version >= 180000 {
		s["max_active_replication_origins"] = strconv.Itoa(peers)
	}
	if hasPluginList {
		s[PluginList] = "pgoutput, test_decoding, " + eng.Name() + "_output"
	}
	maps.Copy(s, eng.Settings(version))
	return s
}
