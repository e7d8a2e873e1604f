package engine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Installation is a PostgreSQL installation, here or in an image, as far as an engine asks for its files.
type Installation interface {
	// Library says what keeps a server from loading a library, "pglogical.so".
	Library(name string) error
	// Control is the text of an extension's control file.
	Control(extension string) (string, error)
}

// Directories is an installation on this machine.
type Directories struct{ Lib, Share string }

// Library looks for a file.
func (d Directories) Library(name string) error {
	_, err := os.Stat(filepath.Join(d.Lib, name))
	return err
}

// Control reads a file.
func (d Directories) Control(extension string) (string, error) {
	b, err := os.ReadFile(filepath.Join(d.Share, "extension", extension+".control"))
	return string(b), err
}

// ControlVersion is the version of an extension that CREATE EXTENSION takes.
func ControlVersion(extension, control string) (string, error) {
	for line := range strings.Lines(control) {
		key, value, ok := strings.Cut(line, "=")
		if ok && strings.TrimSpace(key) == "default_version" {
			return strings.Trim(strings.TrimSpace(value), "'"), nil
		}
	}
	return "", fmt.Errorf("%s.control names no default_version", extension)
}

// Choose is the first of engines that an installation has: its place among them, and its version. The error says what each lacks.
func Choose(in Installation, engines []Engine) (place int, version string, err error) {
	var lacks []string
	for i, e := range engines {
		version, err := e.Available(in)
		if err == nil {
			return i, version, nil
		}
		lacks = append(lacks, err.Error())
	}
	return 0, "", errors.New(strings.Join(lacks, " and "))
}
