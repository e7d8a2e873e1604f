package sql

import (
	"context"
	"crypto/md5"
	"embed"
	"encoding/hex"
	"fmt"
	"regexp"
	"sort"
	"strings"

	"github.com/jackc/pgx/v5"
)

//go:embed *.sql
var embedded embed.FS

// Version is that of the files: what spock.recovery_files_version() returns where they are installed.
const Version = 3

// File is one SQL file: its name and its text, usable with psql.
type File struct {
	Name string
	Text []byte
}

// Files are the files to run on every node, in this order: the schema, the
// engine's own file, then everything else. It fails for an engine without a file.
func Files(engine string) ([]File, error) {
	entries, err := embedded.ReadDir(".")
	if err != nil {
		return nil, fmt.Errorf("list embedded SQL files: %w", err)
	}
	own := "engine_" + engine + ".sql"
	var names []string
	found := false
	for _, e := range entries {
		switch {
		case e.Name() == own:
			found = true
		case !strings.HasPrefix(e.Name(), "engine_"):
			names = append(names, e.Name())
		}
	}
	if !found {
		return nil, fmt.Errorf("engine %q: there is no %s", engine, own)
	}
	sort.Strings(names)
	names = append(names[:1], append([]string{own}, names[1:]...)...) // behind 00_schema.sql
	files := make([]File, len(names))
	for i, name := range names {
		text, err := embedded.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("read embedded %s: %w", name, err)
		}
		files[i] = File{Name: name, Text: text}
	}
	return files, nil
}

// Install runs the engine's files on the connected node, each in a transaction of
// its own, and then extra, a user's file that may replace any of it. It may be
// called again. The connection's role must be a superuser.
func Install(ctx context.Context, c *pgx.Conn, engine string, extra []byte) error {
	files, err := Files(engine)
	if err != nil {
		return err
	}
	if len(extra) > 0 {
		files = append(files, File{Name: "the recovery SQL file", Text: extra})
	}
	for _, f := range files {
		if _, err := c.PgConn().Exec(ctx, string(f.Text)).ReadAll(); err != nil {
			return fmt.Errorf("install %s: %w", f.Name, err)
		}
	}
	return nil
}

// InstallEngine runs the engine's own file alone, behind the schema: what others must know of its catalogs. None of its names meets those of a server that
// tracks and rescues by itself, as names in the other files do.
func InstallEngine(ctx context.Context, c *pgx.Conn, engine string) error {
	name := "engine_" + engine + ".sql"
	text, err := embedded.ReadFile(name)
	if err != nil {
		return fmt.Errorf("engine %q: there is no %s", engine, name)
	}
	if _, err := c.PgConn().Exec(ctx, "CREATE SCHEMA IF NOT EXISTS spock; "+string(text)).ReadAll(); err != nil {
		return fmt.Errorf("install %s: %w", name, err)
	}
	return nil
}

var plainName = regexp.MustCompile(`^[a-z0-9_]+$`)
var unfit = regexp.MustCompile(`[^a-z0-9_]`)

// RecoverySlotName is the name of a database's recovery slot: spk_recovery_<db>. A
// name that a slot cannot have is made fit, and then ends in a part of its hash.
// It equals spock.recovery_slot_name(db).
func RecoverySlotName(db string) string {
	if plainName.MatchString(db) && len(db) <= 50 {
		return "spk_recovery_" + db
	}
	// Bytes beyond ASCII become one '_' per character, and only ASCII is lowered,
	// as PostgreSQL's lower() does in collation C.
	fit := []rune(unfit.ReplaceAllString(lowerASCII(db), "_"))
	sum := md5.Sum([]byte(db))
	return "spk_recovery_" + string(fit[:min(len(fit), 41)]) + "_" + hex.EncodeToString(sum[:])[:8]
}

func lowerASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}
