package local

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spockchaos/spockchaos/topology/server"
)

// settings of one server.
func settings(o *Options, version int, hasPluginList bool, port int, socketDir string) map[string]string {
	s := server.Settings(o.Nodes, version, hasPluginList, o.Engine)
	maps.Copy(s, map[string]string{
		"listen_addresses":           "127.0.0.1",
		"port":                       strconv.Itoa(port),
		"unix_socket_directories":    socketDir,
		"dynamic_shared_memory_type": "mmap", // in the data directory: a killed server leaves nothing in /dev/shm
	})
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
