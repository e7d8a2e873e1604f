package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spockchaos/spockchaos/topology/engine/pglogical"
	"github.com/spockchaos/spockchaos/topology/owner"
)

// errPlanned is what a fake engine says at the step at which it is to fail.
var errPlanned = errors.New("planned failure")

// fake is a container engine that runs nothing: a container is up as soon as it is started, and a server in it ends at once.
type fake struct {
	failAt int // the step that fails, from 1; 0 is none

	mu         sync.Mutex
	steps      []string // what was asked to be made
	containers map[string]Container
	networks   map[string]Network
	volumes    map[string]Volume
	taken      int // how many networks are refused as taken
	serve      bool
	closed     bool
}

func newFake() *fake {
	return &fake{containers: map[string]Container{}, networks: map[string]Network{}, volumes: map[string]Volume{}}
}

// make does a step, or fails at it.
func (f *fake) make(step string, do func()) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.steps = append(f.steps, step)
	if len(f.steps) == f.failAt {
		return errPlanned
	}
	do()
	return nil
}

func (f *fake) Address() string { return "fake" }
func (f *fake) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	return nil
}

func (f *fake) Image(context.Context, string) (Image, error)     { return Image{}, nil }
func (f *fake) PullImage(context.Context, string) error          { return errPlanned }
func (f *fake) Log(context.Context, string, int) (string, error) { return "the end\n", nil }
func (f *fake) CopyErrors(_ context.Context, _ string, _ time.Time, to io.Writer) error {
	_, err := io.WriteString(to, "the end\n")
	return err
}
func (f *fake) ImportImage(context.Context, string, io.Reader, ...string) error {
	return errPlanned
}

func (f *fake) CreateContainer(_ context.Context, s ContainerSpec) (string, error) {
	return s.Name, f.make("create "+s.Name, func() { f.containers[s.Name] = Container{ID: s.Name, Name: s.Name, Labels: s.Labels} })
}

func (f *fake) StartContainer(_ context.Context, id string) error {
	return f.make("start "+id, func() {
		c := f.containers[id]
		c.Running = true
		f.containers[id] = c
	})
}

func (f *fake) Signal(_ context.Context, id, _ string) error { return f.make("signal "+id, func() {}) }

func (f *fake) Wait(ctx context.Context, _ string) (int, error) {
	if f.serve {
		<-ctx.Done()
		return 0, ctx.Err()
	}
	return 1, nil
}
func (f *fake) Pause(context.Context, string) error   { return errPlanned }
func (f *fake) Unpause(context.Context, string) error { return errPlanned }

func (f *fake) RemoveContainer(_ context.Context, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.containers, id)
	return nil
}

func (f *fake) Container(_ context.Context, id string) (Container, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, ok := f.containers[id]
	if !ok {
		return c, ErrNotFound
	}
	return c, nil
}

// has says whether labels have one that was asked for, as the engine matches them.
func has(labels map[string]string, label string) bool {
	key, value, exact := strings.Cut(label, "=")
	got, ok := labels[key]
	return label == "" || ok && (!exact || got == value)
}

func (f *fake) Containers(_ context.Context, label string) (all []Container, _ error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.containers {
		if has(c.Labels, label) {
			all = append(all, c)
		}
	}
	return all, nil
}

func (f *fake) Processes(context.Context, string) ([]int, error) { return nil, errPlanned }

func (f *fake) Exec(_ context.Context, id, _ string, argv ...string) (Result, error) {
	return Result{}, f.make("exec in "+id, func() {})
}

func (f *fake) SetMemory(context.Context, string, int64) error       { return errPlanned }
func (f *fake) Memory(context.Context, string) (Memory, error)       { return Memory{}, errPlanned }
func (f *fake) OOMs(context.Context, string, time.Time) (int, error) { return 0, errPlanned }
func (f *fake) Shape(_ context.Context, id string) (Shape, error)    { return Shape(id), nil }
func (f *fake) Recreate(_ context.Context, s Shape) error {
	return f.make("recreate "+string(s), func() { f.containers[string(s)] = Container{ID: string(s), Name: string(s)} })
}
func (f *fake) Connect(_ context.Context, n, c, _ string, _ ...string) error {
	return f.make("connect "+c+" to "+n, func() {})
}
func (f *fake) Disconnect(context.Context, string, string) error { return errPlanned }

func (f *fake) CreateNetwork(_ context.Context, s NetworkSpec) (string, error) {
	f.mu.Lock()
	f.taken--
	taken := f.taken >= 0
	f.mu.Unlock()
	if taken {
		return "", fmt.Errorf("%w: Pool overlaps with other one on this address space", ErrInUse)
	}
	return s.Name, f.make("network "+s.Name, func() {
		f.networks[s.Name] = Network{ID: s.Name, Name: s.Name, Labels: s.Labels, Subnets: []string{s.Subnet}}
	})
}

func (f *fake) RemoveNetwork(_ context.Context, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.networks, id)
	return nil
}

func (f *fake) Networks(_ context.Context, label string) (all []Network, _ error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range f.networks {
		if has(n.Labels, label) {
			all = append(all, n)
		}
	}
	return all, nil
}

func (f *fake) CreateVolume(_ context.Context, s VolumeSpec) error {
	return f.make("volume "+s.Name, func() { f.volumes[s.Name] = Volume{Name: s.Name, Labels: s.Labels} })
}

func (f *fake) RemoveVolume(_ context.Context, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.volumes, name)
	return nil
}

func (f *fake) Volumes(_ context.Context, label string) (all []Volume, _ error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, v := range f.volumes {
		if has(v.Labels, label) {
			all = append(all, v)
		}
	}
	return all, nil
}

// empty fails the test if anything is left.
func (f *fake) empty(t *testing.T) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.containers)+len(f.networks)+len(f.volumes) > 0 || !f.closed {
		t.Errorf("left: %v, %v, %v; closed: %v", f.containers, f.networks, f.volumes, f.closed)
	}
}

func fakeOptions(f *fake) Options {
	return Options{API: f, Nodes: 3, Server: Server{Ref: "node", VersionNum: 170000}, Proxy: "self", Engine: pglogical.New()}
}

// New fails at each of its steps, one after the other, and leaves nothing each time.
func TestNewFails(t *testing.T) {
	for at := 1; ; at++ {
		f := newFake()
		f.failAt = at
		_, err := New(context.Background(), fakeOptions(f))
		if err == nil {
			t.Fatal("there is a cluster without servers")
		}
		f.empty(t)
		if len(f.steps) < at { // it came to the servers, which ended
			if !strings.Contains(err.Error(), "ended at once, with status 1; its log ends: the end") {
				t.Errorf("%v", err)
			}
			if at < 10 {
				t.Errorf("only %d steps: %v", len(f.steps), f.steps)
			}
			return
		}
		// Steps go on side by side, so another failure may come first where servers were started already.
		if !errors.Is(err, errPlanned) && !strings.Contains(err.Error(), "ended at once") {
			t.Errorf("step %d, %s: %v", at, f.steps[at-1], err)
		}
		if strings.Contains(err.Error(), "\n") {
			t.Errorf("step %d, %s: more than a line: %q", at, f.steps[at-1], err)
		}
	}
}

// New is interrupted while it waits for the servers.
func TestNewInterrupted(t *testing.T) {
	f := newFake()
	f.serve = true
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if _, err := New(ctx, fakeOptions(f)); err == nil {
		t.Fatal("there is a cluster without servers")
	}
	f.empty(t)
}

// Addresses that somebody else has just taken are no reason to give up, unless it happens again and again.
func TestNetworksTaken(t *testing.T) {
	for _, taken := range []int{1, 5, 1000} {
		f := newFake()
		f.taken = taken
		_, err := New(context.Background(), fakeOptions(f))
		if errors.Is(err, ErrInUse) != (taken == 1000) {
			t.Errorf("taken %d times: %v", taken, err)
		}
		f.empty(t)
	}
}

func TestOptions(t *testing.T) {
	for what, change := range map[string]func(*Options){
		"no nodes":       func(o *Options) { o.Nodes = 0 },
		"too many nodes": func(o *Options) { o.Nodes = 10 },
		"no image":       func(o *Options) { o.Server = Server{} },
		"no proxy":       func(o *Options) { o.Proxy = "" },
		"too small":      func(o *Options) { o.VolumeSize = 1 << 20 },
		"no watchdog":    func(o *Options) { o.WatchdogCommand = []string{"/nowhere/watchdog"} },
	} {
		f := newFake()
		o := fakeOptions(f)
		change(&o)
		if _, err := New(context.Background(), o); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", what, err)
		}
		if len(f.steps) > 0 {
			t.Errorf("%s: %v", what, f.steps)
		}
	}
}

// Leftovers are told apart by owner, and only what is asked for goes.
func TestLeftovers(t *testing.T) {
	ctx := context.Background()
	self, err := owner.Self()
	if err != nil {
		t.Fatal(err)
	}
	dead := self
	dead.Boot = "another"
	f := newFake()
	for run, who := range map[string]string{"alive": self.String(), "dead": dead.String(), "kept": dead.String(), "odd": "?"} {
		labels := map[string]string{LabelRun: run, LabelOwner: who}
		f.containers[run+"-n1"] = Container{Name: run + "-n1", Labels: labels}
		f.networks[run+"-net"] = Network{Name: run + "-net", Labels: labels}
		f.volumes[run+"-vol"] = Volume{Name: run + "-vol", Labels: labels}
	}
	f.volumes["kept"] = Volume{Name: "kept", Labels: map[string]string{LabelRun: "kept", LabelOwner: dead.String(), LabelKept: "true"}}
	f.containers["stranger"] = Container{Name: "stranger", Labels: map[string]string{"other": "x"}}
	all, err := Leftovers(ctx, f)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, l := range all {
		got[l.Run] = fmt.Sprintln(l.State, l.Kept, l.Parts)
		if l.Run == "dead" {
			var told []string
			if err := l.Remove(ctx, f, func(part string) { told = append(told, part) }); err != nil || fmt.Sprint(told) != fmt.Sprint(l.Parts) {
				t.Errorf("%v, %v", told, err)
			}
		}
	}
	want := map[string]string{
		"alive": fmt.Sprintln(owner.Alive, false, "[container alive-n1 network alive-net volume alive-vol]"),
		"dead":  fmt.Sprintln(owner.Dead, false, "[container dead-n1 network dead-net volume dead-vol]"),
		"kept":  fmt.Sprintln(owner.Dead, true, "[container kept-n1 network kept-net volume kept volume kept-vol]"),
		"odd":   fmt.Sprintln(owner.Unknown, false, "[container odd-n1 network odd-net volume odd-vol]"),
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
	if len(f.containers) != 4 || len(f.networks) != 3 || len(f.volumes) != 4 {
		t.Errorf("left: %v, %v, %v", f.containers, f.networks, f.volumes)
	}
}
