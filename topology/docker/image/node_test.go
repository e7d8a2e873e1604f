package image_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/spockchaos/spockchaos/topology/docker"
	"github.com/spockchaos/spockchaos/topology/docker/image"
	"github.com/spockchaos/spockchaos/topology/docker/image/imagetest"
	"github.com/spockchaos/spockchaos/topology/owner"
)

const dataDir = "/var/lib/postgresql/data"

// scene is a container engine, one of our images and a volume, which go with the test.
type scene struct {
	*testing.T
	docker.API
	image string
	name  string // of the volume, and of the container while there is one
}

func newScene(t *testing.T) *scene {
	t.Helper()
	api, err := docker.Connect(t.Context())
	if err != nil {
		missing(t, err)
	}
	t.Cleanup(func() { _ = api.Close() })
	ref, err := image.ForEngine(t.Context(), api, "pglogical", "17")
	if err != nil {
		missing(t, err)
	}
	s := &scene{T: t, API: api, image: ref, name: "spockchaos-image-" + strings.ToLower(rand.Text()[:8])}
	if err := api.CreateVolume(s.limit(), docker.VolumeSpec{Name: s.name, Labels: s.labels()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := api.RemoveContainer(ctx, s.name); err != nil {
			t.Error(err)
		}
		if err := api.RemoveVolume(ctx, s.name); err != nil {
			t.Error(err)
		}
	})
	return s
}

// missing ends a test that cannot be made here.
func missing(t *testing.T, why error) {
	t.Helper()
	if os.Getenv("SPOCKCHAOS_TEST_DOCKER") == "required" {
		t.Fatal(why)
	}
	t.Skipf("not tested in containers: %v", why)
}

// labels let `spockchaos clean` find what a killed test left.
func (s *scene) labels() map[string]string {
	self, err := owner.Self()
	s.check(err)
	return map[string]string{docker.LabelRun: s.name, docker.LabelOwner: self.String()}
}

func (s *scene) limit() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	s.Cleanup(cancel)
	return ctx
}

func (s *scene) check(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// up starts a new container on the volume.
func (s *scene) up(env []string, entrypoint []string, args ...string) {
	s.Helper()
	_, err := s.CreateContainer(s.limit(), docker.ContainerSpec{
		Name: s.name, Image: s.image, Labels: s.labels(), Network: "none", Env: env, Entrypoint: entrypoint, Args: args,
		Volumes: map[string]string{s.name: dataDir},
	})
	s.check(err)
	s.check(s.StartContainer(s.limit(), s.name))
}

func (s *scene) down() {
	s.Helper()
	s.check(s.RemoveContainer(s.limit(), s.name))
}

// ended is the exit status of a container that ends by itself, and the last line of its log.
func (s *scene) ended() (int, string) {
	s.Helper()
	status, err := s.Wait(s.limit(), s.name)
	s.check(err)
	log, err := s.Log(s.limit(), s.name, 20)
	s.check(err)
	lines := strings.Split(strings.TrimSpace(log), "\n")
	return status, lines[len(lines)-1]
}

// await runs a shell command in the container until it succeeds, and returns its output.
func (s *scene) await(command string) string {
	s.Helper()
	ctx := s.limit()
	for {
		r, err := s.Exec(ctx, s.name, "", "sh", "-c", command)
		if err == nil && r.Status == 0 {
			return strings.TrimSpace(r.Stdout)
		}
		select {
		case <-ctx.Done():
			log, _ := s.Log(context.Background(), s.name, 20)
			s.Fatalf("%s: %v %+v\nthe container's log ends:\n%s", command, err, r, log)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// query asks over TCP, with a password.
func query(password, sql string) string {
	return fmt.Sprintf("PGPASSWORD='%s' psql -X -Atq -v ON_ERROR_STOP=1 -h 127.0.0.1 -U admin -d app -c '%s'", password, sql)
}

func TestNode(t *testing.T) {
	s := newScene(t)
	env := []string{"POSTGRES_USER=admin", "POSTGRES_PASSWORD=secret", "POSTGRES_DB=app"}
	s.up(env, nil, "-c", "shared_preload_libraries=pglogical", "-c", "wal_level=logical")
	for _, extension := range []string{"pglogical", "dblink", "pg_walinspect"} {
		s.await(query("secret", "CREATE EXTENSION IF NOT EXISTS "+extension))
	}
	s.await(query("secret", "CREATE TABLE t AS SELECT 7 AS i"))
	if got := s.await(query("secret", "SHOW listen_addresses")); got != "*" {
		t.Errorf("the server listens at %q", got)
	}
	if got := s.await("cat /proc/1/comm && stat -c %U /proc/1 && id -un"); got != "postgres\npostgres\nroot" {
		t.Errorf("process 1, its user, the user of a command: %q", got)
	}
	if r, err := s.Exec(s.limit(), s.name, "", "sh", "-c", query("wrong", "SELECT")); err != nil || r.Status != 2 || !strings.Contains(r.Stderr, "password") {
		t.Errorf("with a wrong password: %+v, %v", r, err)
	}

	s.check(s.Signal(s.limit(), s.name, "SIGKILL"))
	_, err := s.Wait(s.limit(), s.name)
	s.check(err)
	s.check(s.StartContainer(s.limit(), s.name))
	s.await(query("secret", "SELECT FROM t"))

	// On another container, an existing cluster needs no settings; the image's own stop signal ends the server cleanly.
	s.down()
	s.up(nil, nil)
	s.await(query("secret", "SELECT FROM t"))
	s.check(s.Signal(s.limit(), s.name, "SIGINT"))
	if status, last := s.ended(); status != 0 || !strings.Contains(last, "is shut down") {
		t.Errorf("stopped with status %d: %s", status, last)
	}

	s.down()
	s.up(nil, nil, "sh", "-c", "id -un && exit 3")
	if status, last := s.ended(); status != 3 || last != "root" {
		t.Errorf("a command of the user's own: status %d, %s", status, last)
	}
}

func TestNodeRefuses(t *testing.T) {
	s := newScene(t)
	s.up(nil, nil)
	if status, last := s.ended(); status != 1 || !strings.HasPrefix(last, "entrypoint: POSTGRES_PASSWORD is not set") {
		t.Errorf("without a password: status %d, %s", status, last)
	}
	s.down()
	s.up(nil, []string{"touch", dataDir + "/notes"})
	s.ended()
	s.down()
	s.up([]string{"POSTGRES_PASSWORD=secret"}, nil)
	if status, last := s.ended(); status != 1 || last != "entrypoint: "+dataDir+" is not empty and holds no cluster" {
		t.Errorf("on somebody's files: status %d, %s", status, last)
	}
}

// A container that is killed while it makes the cluster leaves nothing that passes for one. The moments are those when a
// file has just appeared, from the first to the last but one that initdb writes.
func TestNodeInterrupted(t *testing.T) {
	s := newScene(t)
	env := []string{"POSTGRES_PASSWORD=secret", "POSTGRES_USER=admin", "POSTGRES_DB=app"}
	for _, file := range []string{".initdb", ".initdb/PG_VERSION", ".initdb/global/pg_control", ".initdb/base/5"} {
		s.up(env, nil)
		s.await("test -e " + dataDir + "/" + file)
		s.check(s.Signal(s.limit(), s.name, "SIGKILL"))
		_, err := s.Wait(s.limit(), s.name)
		s.check(err)
		s.down()
	}
	// As if killed while the cluster was moved to its place.
	s.up(nil, []string{"mkdir", dataDir + "/base"})
	s.ended()
	s.down()
	s.up(env, nil)
	if got := s.await(query("secret", "SELECT current_database()")); got != "app" {
		t.Errorf("the database is %q", got)
	}
	if got := s.await("ls -A " + dataDir + " | grep -c -e initdb -e PG_VERSION"); got != "1" {
		t.Errorf("%s of PG_VERSION and .initdb are there", got)
	}
}

// The program's own image starts without any other file.
func TestSelf(t *testing.T) {
	api, err := docker.Connect(t.Context())
	if err != nil {
		missing(t, err)
	}
	s := &scene{T: t, API: api, image: imagetest.Self(t, api), name: "spockchaos-image-" + strings.ToLower(rand.Text()[:8])}
	t.Cleanup(func() {
		s.check(api.RemoveContainer(s.limit(), s.name))
		s.check(api.Close())
	})
	_, err = api.CreateContainer(s.limit(), docker.ContainerSpec{
		Name: s.name, Image: s.image, Labels: s.labels(), Network: "none", Args: []string{"version"},
	})
	s.check(err)
	s.check(api.StartContainer(s.limit(), s.name))
	if status, last := s.ended(); status != 0 || !strings.HasPrefix(last, "spockchaos") {
		t.Errorf("status %d: %s", status, last)
	}
}
