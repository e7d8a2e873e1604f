package docker

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// An engine that is not there is one line that says which was meant.
func TestConnect(t *testing.T) {
	dir := t.TempDir()
	nowhere := filepath.Join(dir, "nowhere.sock")
	dead := filepath.Join(dir, "dead.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: dead, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	_ = l.Close()
	stranger := httptest.NewServer(http.NotFoundHandler())
	defer stranger.Close()
	for what, c := range map[string]struct{ host, want string }{
		"no socket":       {"unix://" + nowhere, "no container engine at unix://" + nowhere + ": no such file or directory (is it installed and running? DOCKER_HOST names another)"},
		"nobody listens":  {"unix://" + dead, "no container engine at unix://" + dead + ": connection refused (is it installed and running? DOCKER_HOST names another)"},
		"no socket file":  {"unix://" + dir, "no container engine at unix://" + dir + ": "},
		"another machine": {"tcp://192.0.2.1:2375", "no container engine at tcp://192.0.2.1:2375: it is another machine's; a run reaches its containers by ports of this one"},
		"no address":      {"nonsense", "no container engine: DOCKER_HOST=nonsense: "},
		"by ssh":          {"ssh://me@there", "no container engine at ssh://me@there: "},
		"a stranger":      {strings.Replace(stranger.URL, "http", "tcp", 1), "no container engine at " + strings.Replace(stranger.URL, "http", "tcp", 1) + ": "},
	} {
		t.Run(what, func(t *testing.T) {
			t.Setenv("DOCKER_HOST", c.host)
			api, err := Connect(context.Background())
			if err == nil {
				_ = api.Close()
				t.Fatal("connected")
			}
			if !strings.HasPrefix(err.Error(), c.want) || strings.Contains(err.Error(), "\n") || len(err.Error()) > 300 {
				t.Errorf("%q, want %q", err, c.want)
			}
			t.Log(err)
		})
	}
	if _, err := os.Stat(dead); err != nil {
		t.Fatal(err)
	}
}
