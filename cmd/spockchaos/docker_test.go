package main

import (
	"context"

	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spockchaos/spockchaos/checker"
	"github.com/spockchaos/spockchaos/topology/docker"
	"github.com/spockchaos/spockchaos/topology/docker/dockertest"
)

// dockerArgs is a short run in containers into dir.
func dockerArgs(dir string, more ...string) []string {
	return append([]string{"run", "--topology", "docker", "--pg-ver", "17", "--duration", "1s", "--rate", "200", "--seed", "5", "--report-dir", dir}, more...)
}

// containers is the cluster of a program, nil if there is none.
func (p *invocation) containers(api docker.API) *docker.Leftover {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	all, err := docker.Leftovers(ctx, api)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, l := range all {
		// The look at an image has a cluster's labels as well.
		if l.Owner.PID == p.cmd.Process.Pid && len(l.Parts) > 1 {
			return &l
		}
	}
	return nil
}

// TestDocker makes a whole short run in containers with the faults that only they can have.
func TestDocker(t *testing.T) {
	api := dockertest.Connect(t)
	defer func() { _ = api.Close() }()
	dockertest.Node(t, api, "17")
	dir := filepath.Join(t.TempDir(), "run")
	p := start(t, dockerArgs(dir, "--chaos", "12s", "--volume-size", "1GB", "--faults", "kill,pause,disconnect,drop_packets,memory_limit,disk_full")...)
	status := p.wait(startLimit)
	p.gone(0)
	if l := p.containers(api); l != nil {
		t.Errorf("left: %v", l.Parts)
	}
	// On a machine that is busy with other things a short run may have too little evidence.
	if status != 0 && status != 3 {
		t.Fatalf("exit status %d, want 0, or 3 at worst", status)
	}
	rep := report(t, dir)
	if want := map[checker.Verdict]int{checker.Pass: 0, checker.Inconclusive: 3}[rep.Verdict]; want != status {
		t.Errorf("exit status %d, but report.json says %s", status, rep.Verdict)
	}
	felt := 0
	for _, f := range rep.Faults {
		t.Logf("%s %s: effect %t: %s", f.Name, f.Target, f.Effect, f.Proof)
		if f.Effect {
			felt++
		}
	}
	if felt < 2 { // the loss is one
		t.Errorf("%d faults took effect", felt)
	}
}

// TestDockerKilled kills a run in containers together with its watchdog, and cleans up after it.
func TestDockerKilled(t *testing.T) {
	api := dockertest.Connect(t)
	defer func() { _ = api.Close() }()
	dockertest.Node(t, api, "17")
	p := start(t, dockerArgs(filepath.Join(t.TempDir(), "run"))...)
	p.until("there are containers", func() bool { return p.containers(api) != nil })
	r := run(t, "clean")
	if l := p.containers(api); r.status != 0 || l == nil || !strings.Contains(r.stdout, "skipped containers of run "+l.Run+": process "+strconv.Itoa(p.cmd.Process.Pid)+", which made it, still runs\n") {
		t.Fatalf("clean, while the run is on: exit status %d, %s%s; left %v", r.status, r.stdout, r.stderr, l)
	}
	for _, pid := range children(t, p.cmd.Process.Pid) {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	p.signal(syscall.SIGKILL)
	p.wait(5 * time.Second)
	l := p.containers(api)
	if l == nil {
		t.Fatal("nothing is left, although nobody could remove it")
	}
	for _, verb := range []string{"would remove ", "removed "} {
		args := []string{"clean"}
		if verb == "would remove " {
			args = append(args, "--dry-run")
		}
		r := run(t, args...)
		for _, part := range l.Parts {
			if r.status != 0 || !strings.Contains(r.stdout, verb+part+"\n") {
				t.Errorf("%v: exit status %d, %s%s; want %q", args, r.status, r.stdout, r.stderr, verb+part)
			}
		}
	}
	// What the engine was at work on when the run was killed may come late.
	deadline := time.Now().Add(30 * time.Second)
	for p.containers(api) != nil && time.Now().Before(deadline) {
		run(t, "clean")
	}
	if l := p.containers(api); l != nil {
		t.Errorf("left: %v", l.Parts)
	}
}

// children are the processes that a process has started.
func children(t *testing.T, parent int) (pids []int) {
	t.Helper()
	out, err := exec.Command("ps", "-o", "pid=", "--ppid", strconv.Itoa(parent)).Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range strings.Fields(string(out)) {
		pid, err := strconv.Atoi(f)
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return pids
}

// TestDockerRefused asks for containers that cannot be had: it says so before there is anything to leave behind.
func TestDockerRefused(t *testing.T) {
	for name, test := range map[string]struct {
		host string
		args []string
		want []string
	}{
		"no engine":     {"unix:///nowhere/docker.sock", nil, []string{"no container engine at unix:///nowhere/docker.sock"}},
		"small volumes": {"unix:///nowhere/docker.sock", []string{"--volume-size", "1MB"}, []string{"--volume-size", "256MB"}},
		"odd volumes":   {"unix:///nowhere/docker.sock", []string{"--volume-size", "much"}, []string{"--volume-size", "much"}},
		"local's":       {"unix:///nowhere/docker.sock", []string{"--pg-bin", "/nowhere"}, []string{"--pg-bin is for --topology local"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("DOCKER_HOST", test.host)
			refusedRun(t, test.args, test.want...)
		})
	}
	api := dockertest.Connect(t)
	defer func() { _ = api.Close() }()
	t.Run("no image", func(t *testing.T) {
		refusedRun(t, []string{"--image", "spockchaos.invalid/none:1"}, "spockchaos.invalid/none:1", "cannot be pulled")
	})
	t.Run("no server", func(t *testing.T) {
		const ref = "spockchaos/test:empty"
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := api.ImportImage(ctx, ref, strings.NewReader(strings.Repeat("\x00", 1024)), `CMD ["/none"]`, "LABEL io.spockchaos.image=test"); err != nil {
			t.Fatal(err)
		}
		refusedRun(t, []string{"--image", ref}, ref, "/bin/sh")
	})
}

// refusedRun asserts that a run in containers comes to nothing.
func refusedRun(t *testing.T, args []string, want ...string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "run")
	p := start(t, dockerArgs(dir, args...)...)
	refused(t, p.wait(startLimit), p.out.stderr.String(), want...)
	p.gone(0)
	absent(t, dir)
}
