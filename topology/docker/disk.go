package docker

import (
	"context"
	"fmt"
	"strings"

	"github.com/spockchaos/spockchaos/topology/server"
)

// Where things are in a node's containers.
const (
	diskDir = "/spockchaos" // the node's volume
	dataDir = diskDir + "/data"
	ballast = diskDir + "/ballast" // fills the volume up
	saveDir = "/saved"             // the volume of all nodes' saved data, in disk containers
)

// root is who works on files in a disk container, unless PostgreSQL's programs do.
const root = "0:0"

// programs finds PostgreSQL's in an image that has them elsewhere than in PATH.
const programs = "PATH=$PATH:$(echo /usr/lib/postgresql/*/bin | tr ' ' :):$(echo /usr/pgsql-*/bin | tr ' ' :)\n"

// makeDisk makes the node's volume and the container that keeps it mounted: a volume of fixed size forgets
// everything when nobody has it mounted, and whoever works on the files needs a place to do it from.
func (n *node) makeDisk(ctx context.Context) error {
	making, cancel := steady(ctx)
	defer cancel()
	o := &n.cluster.opts
	volume := VolumeSpec{Name: n.volume(), Labels: n.cluster.run.labels, Size: o.VolumeSize}
	if n.lent != nil { // where it is there already, it stays as it is
		volume.Labels = n.lent.VolumeLabels
	}
	if err := n.api().CreateVolume(making, volume); err != nil {
		return fmt.Errorf("making its volume: %w", err)
	}
	_, err := n.api().CreateContainer(making, ContainerSpec{
		Name: n.disk(), Image: o.Server.Ref, Labels: n.cluster.run.labels, Network: "none", User: root,
		Entrypoint: []string{"/bin/sh", "-c", "exec sleep infinity"},
		Volumes:    map[string]string{n.volume(): diskDir, n.cluster.savedVolume(): saveDir},
	})
	if err != nil {
		return fmt.Errorf("making the container of its disk: %w", err)
	}
	if err := n.api().StartContainer(making, n.disk()); err != nil {
		return fmt.Errorf("starting the container of its disk: %w", err)
	}
	if n.lent != nil {
		return nil
	}
	// An image whose entrypoint is not root cannot do it.
	_, err = n.onDisk(ctx, root, "mkdir -p "+dataDir+" && chown postgres: "+dataDir+" && chmod 0700 "+dataDir)
	return err
}

// onDisk runs shell commands in the container of the node's disk.
func (n *node) onDisk(ctx context.Context, user, commands string) (stdout string, err error) {
	r, err := n.api().Exec(ctx, n.disk(), user, "/bin/sh", "-ec", commands)
	if err != nil {
		return "", fmt.Errorf("working on its disk: %w", err)
	}
	if r.Status != 0 {
		return "", fmt.Errorf("working on its disk: status %d: %s", r.Status, oneLine(r.Stderr))
	}
	return r.Stdout, nil
}

// base is where the data lie that every node begins with, in disk containers.
const base = saveDir + "/base"

// prepareData makes of data that the image has made those that every node begins with. The server must be down after a clean stop.
//
// Our database becomes the only one that can be connected to: pglogical and Spock start a manager in each, one after the other,
// before ours gets its own; and what nothing here uses need not be copied by every Restore. A server would not do for
// that: DROP DATABASE waits for every process of it, and pglogical's supervisor may sleep for minutes.
func (n *node) prepareData(ctx context.Context) error {
	_, err := n.onDisk(ctx, "postgres", programs+`out=$(postgres --single -D `+dataDir+` -c fsync=off -c exit_on_error=on template1 2>&1 <<'END'
DROP DATABASE IF EXISTS postgres;
UPDATE pg_database SET datallowconn = false WHERE datname <> '`+server.Database+`';
END
) || { echo "$out" >&2; exit 1; }`)
	if err != nil {
		return err
	}
	_, err = n.onDisk(ctx, root, "cp -a "+dataDir+" "+base)
	return err
}

// copyData gives the node the data that every node begins with.
func (n *node) copyData(ctx context.Context) error {
	_, err := n.onDisk(ctx, root, "rm -rf "+dataDir+"; cp -a "+base+" "+dataDir)
	return err
}

// moveWAL moves the beginning of the node's WAL to its own place. The server must be down after a clean stop.
func (n *node) moveWAL(ctx context.Context) error {
	_, err := n.onDisk(ctx, "postgres", programs+"pg_resetwal -f -l "+n.walStart+" -D "+dataDir)
	return err
}

// saved is where the node's saved data lie, in disk containers. It is there as a whole or not at all.
func (n *node) saved() string { return saveDir + "/" + n.name }

// saveData keeps a copy of the data. The server must be down.
func (n *node) saveData(ctx context.Context) error {
	_, err := n.onDisk(ctx, root, strings.Join([]string{
		"rm -rf " + n.saved() + " " + n.saved() + ".new", "cp -a " + n.parts.data + " " + n.saved() + ".new", "mv " + n.saved() + ".new " + n.saved(),
	}, "\n"))
	return err
}

// restoreData puts the copy in place of whatever there is. The directory itself stays: the volume may be mounted there.
func (n *node) restoreData(ctx context.Context) error {
	_, err := n.onDisk(ctx, root, strings.Join([]string{
		"rm -f " + ballast, "find " + n.parts.data + " -mindepth 1 -delete", "cp -a " + n.saved() + "/. " + n.parts.data,
	}, "\n"))
	return err
}
