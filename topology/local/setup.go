package local

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// command is a PostgreSQL program of this cluster: run by the servers' account, in a
// session of its own (a Ctrl-C on our terminal is not for it), without our PG* variables.
func (c *Cluster) command(ctx context.Context, dir, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(c.opts.BinDir, name), args...)
	cmd.Dir = dir
	cmd.Env = append(serverEnv(os.Environ()), "TMPDIR="+c.root, "LC_ALL=C", "TZ=UTC")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: c.account.credential}
	return cmd
}

// serverEnv leaves out what would change a PostgreSQL program's mind.
func serverEnv(env []string) []string {
	var out []string
	for _, kv := range env {
		name, _, _ := strings.Cut(kv, "=")
		if strings.HasPrefix(name, "PG") || strings.HasPrefix(name, "LC_") || name == "LANG" || name == "TMPDIR" ||
			name == "TZ" || name == "HOME" {
			continue
		}
		out = append(out, kv)
	}
	return out
}

// initdb makes the first node's data directory; the others are copies of it. They share a system identifier:
// logical replication and pglogical compare none, and a copy is six times as fast.
func (c *Cluster) initdb(ctx context.Context, dataDir string) error {
	pwfile := filepath.Join(c.root, "pw")
	if err := os.WriteFile(pwfile, []byte(c.password+"\n"), 0o600); err != nil {
		return err
	}
	defer func() { _ = os.Remove(pwfile) }()
	if err := c.account.own(pwfile); err != nil {
		return err
	}
	cmd := c.command(ctx, c.root, "initdb", "-D", dataDir, "-N", "-U", Superuser, "-A", "scram-sha-256",
		"--pwfile", pwfile, "-E", "UTF8", "--locale=C")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("initdb failed: %w: %s", err, lastLines(complaints(out), 3))
	}
	if err := os.WriteFile(filepath.Join(dataDir, "pg_hba.conf"), []byte(hba), 0o600); err != nil {
		return err
	}
	return nil
}

// setting asks a data directory's server program for a setting; ok is false if it does not know it.
func (c *Cluster) setting(ctx context.Context, dataDir, name string) (string, bool) {
	out, err := c.command(ctx, dataDir, "postgres", "-C", name, "-D", dataDir).Output()
	return strings.TrimSpace(string(out)), err == nil
}

// createDatabase makes our database in a data directory without a server: a single-user backend is
// quicker than a start and a stop. pglogical and Spock start a manager in each database that can be connected
// to, one after the other, before ours gets its own: so the others are closed, and postgres,
// which nothing here uses, goes (each database is 300 files that every Restore would copy).
func (c *Cluster) createDatabase(ctx context.Context, dataDir string) error {
	cmd := c.command(ctx, dataDir, "postgres", "--single", "-D", dataDir, "-c", "fsync=off", "-c", "exit_on_error=on", "template1")
	cmd.Stdin = strings.NewReader("CREATE DATABASE " + Database + ";\n" +
		"DROP DATABASE postgres;\n" +
		"UPDATE pg_database SET datallowconn = false WHERE datname <> '" + Database + "';\n")
	out, err := cmd.CombinedOutput()
	if err != nil || bytes.Contains(out, []byte("ERROR:")) || bytes.Contains(out, []byte("FATAL:")) {
		return fmt.Errorf("creating database %s: %v: %s", Database, err, lastLines(out, 3))
	}
	return nil
}

// complaints are the lines of a program's output that say what is wrong, all of it if none does: initdb
// goes on to tell how it cleans up.
func complaints(out []byte) []byte {
	var bad []byte
	for line := range bytes.Lines(out) {
		if bytes.Contains(line, []byte("FATAL:")) || bytes.Contains(line, []byte("PANIC:")) || bytes.Contains(line, []byte("error:")) {
			bad = append(bad, line...)
		}
	}
	if len(bad) == 0 {
		return out
	}
	return bad
}

// lastLines of a program's output, on one line.
func lastLines(out []byte, n int) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return strings.Join(lines, " | ")
}
