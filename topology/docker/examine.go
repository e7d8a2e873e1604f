package docker

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spockchaos/spockchaos/topology/engine"
	"github.com/spockchaos/spockchaos/topology/server"
)

// Server is an image that nodes can be made of.
type Server struct {
	Ref           string
	Version       string // of PostgreSQL, "17.11"
	VersionNum    int    // 170011
	Engine        engine.Engine
	EngineVersion string
	pluginList    bool // the server knows the setting server.PluginList
}

// Examine says what an image is as a node with the first of engines that it has, or in one line what it lacks. An image that is not
// on the engine's machine is pulled.
func Examine(ctx context.Context, api API, ref string, engines ...engine.Engine) (Server, error) {
	s := Server{Ref: ref}
	if _, err := api.Image(ctx, ref); errors.Is(err, ErrNotFound) {
		if err := api.PullImage(ctx, ref); err != nil {
			return s, fmt.Errorf("image %s is not on this machine and cannot be pulled: %w", ref, err)
		}
	} else if err != nil {
		return s, fmt.Errorf("image %s: %w", ref, err)
	}
	out, err := look(ctx, api, ref)
	if err != nil {
		return s, fmt.Errorf("image %s: %w", ref, err)
	}
	if s.Version, s.VersionNum, err = server.ParseVersion(out.version); err != nil {
		return s, fmt.Errorf("image %s has no postgres that says its version", ref)
	}
	if m := s.VersionNum / 10000; m < server.OldestMajor || m > server.NewestMajor {
		return s, fmt.Errorf("image %s has PostgreSQL %s: known are %d to %d", ref, s.Version, server.OldestMajor, server.NewestMajor)
	}
	i, version, err := engine.Choose(out, engines)
	if err != nil {
		return s, fmt.Errorf("image %s has PostgreSQL %s and %w", ref, s.Version, err)
	}
	s.Engine, s.EngineVersion = engines[i], version
	s.pluginList = out.pluginList
	return s, nil
}

// lookScript tells of an installation in lines of key and value. Without pg_config, its directories are where
// those files are that every server has.
const lookScript = `
PATH=$PATH:$(echo /usr/lib/postgresql/*/bin | tr ' ' :):$(echo /usr/pgsql-*/bin | tr ' ' :)
echo "version $(postgres --version)"
postgres --describe-config | cut -f1 | grep -x ` + server.PluginList + `
lib=$(pg_config --pkglibdir 2>/dev/null) || lib=$(dirname "$(find / -xdev -name plpgsql.so 2>/dev/null | head -n 1)")
share=$(pg_config --sharedir 2>/dev/null) || share=$(dirname "$(dirname "$(find / -xdev -name plpgsql.control 2>/dev/null | head -n 1)")")
for f in "$lib"/*.so; do echo "library ${f##*/}"; done
for f in "$share"/extension/*.control; do sed "s|^|control ${f##*/} |" "$f"; done
true`

// inside is what lookScript found. It is an engine.Installation.
type inside struct {
	version    string
	pluginList bool
	libraries  map[string]bool
	controls   map[string]string
}

// look runs lookScript in a container of the image.
func look(ctx context.Context, api API, ref string) (out inside, err error) {
	r, err := newRun()
	if err != nil {
		return out, err
	}
	// Not given up halfway: what was made must be known to be removed.
	id, err := api.CreateContainer(context.WithoutCancel(ctx), ContainerSpec{
		Name: r.name("examine"), Image: ref, Labels: r.labels, Network: "none",
		Entrypoint: []string{"/bin/sh", "-c"}, Args: []string{lookScript},
	})
	if err != nil {
		return out, err
	}
	defer func() {
		removing, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeTimeout)
		defer cancel()
		err = errors.Join(err, api.RemoveContainer(removing, id))
	}()
	if err := api.StartContainer(ctx, id); err != nil {
		if strings.Contains(err.Error(), "no such file") || strings.Contains(err.Error(), "not found") {
			return out, errors.New("it has no /bin/sh, so it is no server's")
		}
		return out, err
	}
	if _, err := api.Wait(ctx, id); err != nil {
		return out, err
	}
	text, err := api.Log(ctx, id, 1<<16)
	if err != nil {
		return out, err
	}
	return parseLook(text), nil
}

func parseLook(text string) inside {
	out := inside{libraries: map[string]bool{}, controls: map[string]string{}}
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimRight(line, "\n"), " ")
		switch key {
		case "version":
			out.version = value
		case server.PluginList:
			out.pluginList = true
		case "library":
			out.libraries[value] = true
		case "control":
			file, text, _ := strings.Cut(value, " ")
			out.controls[strings.TrimSuffix(file, ".control")] += text + "\n"
		}
	}
	return out
}

// Library is engine.Installation's.
func (i inside) Library(name string) error {
	if !i.libraries[name] {
		return fmt.Errorf("there is no %s", name)
	}
	return nil
}

// Control is engine.Installation's.
func (i inside) Control(extension string) (string, error) {
	text, ok := i.controls[extension]
	if !ok {
		return "", fmt.Errorf("there is no %s.control", extension)
	}
	return text, nil
}
