package docker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/volume"
	"github.com/docker/docker/client"
	"github.com/docker/docker/pkg/stdcopy"
	"github.com/docker/go-connections/nat"

	"github.com/spockchaos/spockchaos/topology/wait"
)

// connectTimeout bounds the first exchange with the engine.
const connectTimeout = 10 * time.Second

// unlimited is more memory than there is: an engine takes no limit away, it sets another.
const unlimited = 1 << 50

// moby is the API of a docker engine.
type moby struct{ c *client.Client }

var _ API = (*moby)(nil)

// Connect finds the engine as docker's own tools do (DOCKER_HOST, else the usual socket). An engine that is not there or
// lets nobody in is an error of one line that says which address was tried.
func Connect(ctx context.Context) (API, error) {
	c, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		return nil, fmt.Errorf("no container engine: DOCKER_HOST=%s: %w", os.Getenv(client.EnvOverrideHost), err)
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	if err := reach(ctx, c); err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("no container engine at %s: %w", c.DaemonHost(), err)
	}
	return &moby{c}, nil
}

// reach dials the engine itself first: the client hides why that fails.
func reach(ctx context.Context, c *client.Client) error {
	u, err := url.Parse(c.DaemonHost())
	if err != nil {
		return err
	}
	if u.Scheme != "unix" && !isLoopback(u.Hostname()) {
		return errors.New("it is another machine's; a run reaches its containers by ports of this one")
	}
	conn, err := c.Dialer()(ctx)
	switch {
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%w (is this user in the group docker?)", syscall.EACCES)
	case errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w (is it installed and running? DOCKER_HOST names another)", rootCause(err))
	case err != nil:
		return err
	}
	_ = conn.Close()
	if _, err := c.Ping(ctx); err != nil {
		return said(err)
	}
	return nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// rootCause is the system's own error below what the net package says of it.
func rootCause(err error) error {
	var number syscall.Errno
	if errors.As(err, &number) {
		return number
	}
	return err
}

// said is the engine's error without the client's preface, as one of ours where it is one.
func said(err error) error {
	if err == nil {
		return nil
	}
	text := strings.TrimPrefix(err.Error(), "Error response from daemon: ")
	switch {
	case cerrdefs.IsNotFound(err):
		return fmt.Errorf("%w: %s", ErrNotFound, text)
	case cerrdefs.IsConflict(err), strings.Contains(text, "address already in use"), strings.Contains(text, "port is already allocated"),
		strings.Contains(text, "Pool overlaps"), strings.Contains(text, "has active endpoints"):
		return fmt.Errorf("%w: %s", ErrInUse, text)
	case text == err.Error():
		return err
	}
	return errors.New(text)
}

// unlessGone forgives what is about a thing that is not there.
func unlessGone(err error) error {
	if cerrdefs.IsNotFound(err) {
		return nil
	}
	return said(err)
}

func (m *moby) Address() string { return m.c.DaemonHost() }

func (m *moby) Close() error { return m.c.Close() }

func (m *moby) Image(ctx context.Context, ref string) (Image, error) {
	i, err := m.c.ImageInspect(ctx, ref)
	if err != nil {
		return Image{}, said(err)
	}
	img := Image{ID: i.ID, Size: i.Size}
	if i.Config != nil {
		img.Labels = i.Config.Labels
	}
	return img, nil
}

func (m *moby) PullImage(ctx context.Context, ref string) error {
	r, err := m.c.ImagePull(ctx, ref, image.PullOptions{})
	if err != nil {
		return said(err)
	}
	return awaitProgress(r)
}

func (m *moby) ImportImage(ctx context.Context, ref string, root io.Reader, instructions ...string) error {
	r, err := m.c.ImageImport(ctx, image.ImportSource{Source: root, SourceName: "-"}, ref, image.ImportOptions{Changes: instructions})
	if err != nil {
		return said(err)
	}
	return awaitProgress(r)
}

// awaitProgress reads the engine's progress to its end; an error may come in the midst of it.
func awaitProgress(r io.ReadCloser) error {
	defer func() { _ = r.Close() }()
	for lines := json.NewDecoder(r); ; {
		var line struct{ Error string }
		switch err := lines.Decode(&line); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case line.Error != "":
			return errors.New(line.Error)
		}
	}
}

func (m *moby) CreateContainer(ctx context.Context, spec ContainerSpec) (string, error) {
	config := &container.Config{
		Image: spec.Image, Labels: spec.Labels, Entrypoint: spec.Entrypoint, Cmd: spec.Args, Env: spec.Env, User: spec.User,
		StopSignal:   spec.StopSignal,
		Healthcheck:  &container.HealthConfig{Test: []string{"NONE"}}, // we ask the server ourselves
		ExposedPorts: nat.PortSet{},
	}
	var hosts []string
	for name, addr := range spec.Hosts {
		hosts = append(hosts, name+":"+addr)
	}
	host := &container.HostConfig{
		NetworkMode: container.NetworkMode(spec.Network), PortBindings: nat.PortMap{}, AutoRemove: spec.AutoRemove,
		CapAdd: spec.Capabilities, ShmSize: spec.Shm, ExtraHosts: hosts,
		// The log is read back, so it must be of a kind that can be.
		LogConfig: container.LogConfig{Type: "json-file", Config: map[string]string{"max-size": "16m", "max-file": "2"}},
	}
	for _, p := range spec.Ports {
		port := nat.Port(strconv.Itoa(p) + "/tcp")
		config.ExposedPorts[port] = struct{}{}
		host.PortBindings[port] = []nat.PortBinding{{HostIP: "127.0.0.1", HostPort: strconv.Itoa(p)}}
	}
	for name, at := range spec.Volumes {
		host.Binds = append(host.Binds, name+":"+at)
	}
	networks := &network.NetworkingConfig{}
	if spec.Addr != "" {
		networks.EndpointsConfig = map[string]*network.EndpointSettings{spec.Network: endpoint(spec.Addr)}
	}
	made, err := m.c.ContainerCreate(ctx, config, host, networks, nil, spec.Name)
	return made.ID, said(err)
}

func endpoint(addr string, names ...string) *network.EndpointSettings {
	return &network.EndpointSettings{IPAMConfig: &network.EndpointIPAMConfig{IPv4Address: addr}, Aliases: names}
}

// shape is what a Shape holds.
type shape struct {
	Name     string
	Config   *container.Config
	Host     *container.HostConfig
	Networks map[string]*network.EndpointSettings
}

func (m *moby) Shape(ctx context.Context, id string) (Shape, error) {
	i, err := m.c.ContainerInspect(ctx, id)
	if err != nil {
		return nil, said(err)
	}
	s := shape{Name: strings.TrimPrefix(i.Name, "/"), Config: i.Config, Host: i.HostConfig, Networks: map[string]*network.EndpointSettings{}}
	for name, n := range i.NetworkSettings.Networks {
		// What the engine gave it, its short id among its names, it gives the next one as well.
		names := slices.DeleteFunc(slices.Clone(n.Aliases), func(alias string) bool { return strings.HasPrefix(i.ID, alias) })
		s.Networks[name] = &network.EndpointSettings{IPAMConfig: n.IPAMConfig, Aliases: names, Links: n.Links, DriverOpts: n.DriverOpts}
	}
	return json.Marshal(s)
}

func (m *moby) Recreate(ctx context.Context, of Shape) error {
	var s shape
	if err := json.Unmarshal(of, &s); err != nil {
		return fmt.Errorf("reading the shape of a container: %w", err)
	}
	_, err := m.c.ContainerCreate(ctx, s.Config, s.Host, &network.NetworkingConfig{EndpointsConfig: s.Networks}, nil, s.Name)
	return said(err)
}

func (m *moby) StartContainer(ctx context.Context, id string) error {
	return said(m.c.ContainerStart(ctx, id, container.StartOptions{}))
}

func (m *moby) Signal(ctx context.Context, id, signal string) error {
	return said(m.c.ContainerKill(ctx, id, signal))
}

func (m *moby) Wait(ctx context.Context, id string) (int, error) {
	ended, failed := m.c.ContainerWait(ctx, id, container.WaitConditionNotRunning)
	select {
	case end := <-ended:
		if end.Error != nil {
			return 0, errors.New(end.Error.Message)
		}
		return int(end.StatusCode), nil
	case err := <-failed:
		return 0, said(err)
	}
}

func (m *moby) Pause(ctx context.Context, id string) error { return said(m.c.ContainerPause(ctx, id)) }

func (m *moby) Unpause(ctx context.Context, id string) error {
	return said(m.c.ContainerUnpause(ctx, id))
}

func (m *moby) RemoveContainer(ctx context.Context, id string) error {
	err := m.c.ContainerRemove(ctx, id, container.RemoveOptions{Force: true, RemoveVolumes: true})
	if cerrdefs.IsConflict(err) && strings.Contains(err.Error(), "already in progress") {
		// Somebody, or AutoRemove, is at it: it is gone when he is done.
		ended, failed := m.c.ContainerWait(ctx, id, container.WaitConditionRemoved)
		select {
		case <-ended:
			return nil
		case err = <-failed:
		}
	}
	return unlessGone(err)
}

func (m *moby) Container(ctx context.Context, id string) (Container, error) {
	i, err := m.c.ContainerInspect(ctx, id)
	if err != nil {
		return Container{}, said(err)
	}
	c := Container{ID: i.ID, Name: strings.TrimPrefix(i.Name, "/"), Image: i.Config.Image, Labels: i.Config.Labels, Addrs: map[string]string{},
		Volumes: map[string]string{}, Published: map[int]int{}, Restarts: !i.HostConfig.RestartPolicy.IsNone(),
		Running: i.State.Running, Paused: i.State.Paused, PID: i.State.Pid, Exit: i.State.ExitCode, OOMKilled: i.State.OOMKilled}
	for name, n := range i.NetworkSettings.Networks {
		c.Addrs[name] = n.IPAddress
	}
	for _, v := range i.Mounts {
		if v.Type == mount.TypeVolume {
			c.Volumes[v.Destination] = v.Name
		}
	}
	for port, all := range i.NetworkSettings.Ports {
		for _, b := range all {
			if host, err := strconv.Atoi(b.HostPort); err == nil && b.HostIP == "127.0.0.1" {
				c.Published[port.Int()] = host
			}
		}
	}
	return c, nil
}

// labelled is the filter for a label, everything for "".
func labelled(label string) filters.Args {
	f := filters.NewArgs()
	if label != "" {
		f.Add("label", label)
	}
	return f
}

func (m *moby) Containers(ctx context.Context, label string) ([]Container, error) {
	list, err := m.c.ContainerList(ctx, container.ListOptions{All: true, Filters: labelled(label)})
	if err != nil {
		return nil, said(err)
	}
	var all []Container
	for _, s := range list {
		c := Container{ID: s.ID, Labels: s.Labels, Running: s.State == "running" || s.State == "paused", Paused: s.State == "paused"}
		if len(s.Names) > 0 {
			c.Name = strings.TrimPrefix(s.Names[0], "/")
		}
		all = append(all, c)
	}
	return all, nil
}

func (m *moby) Processes(ctx context.Context, id string) ([]int, error) {
	top, err := m.c.ContainerTop(ctx, id, []string{"-eo", "pid"})
	if err != nil {
		return nil, said(err)
	}
	var pids []int
	for _, row := range top.Processes {
		pid, err := strconv.Atoi(strings.TrimSpace(strings.Join(row, "")))
		if err != nil {
			return nil, fmt.Errorf("listing processes: the engine answers %q", row)
		}
		pids = append(pids, pid)
	}
	return pids, nil
}

func (m *moby) Log(ctx context.Context, id string, lines int) (string, error) {
	r, err := m.c.ContainerLogs(ctx, id, container.LogsOptions{ShowStdout: true, ShowStderr: true, Tail: strconv.Itoa(lines)})
	if err != nil {
		return "", said(err)
	}
	defer func() { _ = r.Close() }()
	var out bytes.Buffer
	_, err = stdcopy.StdCopy(&out, &out, r)
	return out.String(), err
}

func (m *moby) CopyErrors(ctx context.Context, id string, since time.Time, to io.Writer) error {
	r, err := m.c.ContainerLogs(ctx, id, container.LogsOptions{ShowStderr: true, Since: since.UTC().Format(time.RFC3339Nano)})
	if err != nil {
		return said(err)
	}
	defer func() { _ = r.Close() }()
	_, err = stdcopy.StdCopy(io.Discard, to, r)
	return err
}

func (m *moby) Exec(ctx context.Context, id, user string, argv ...string) (Result, error) {
	made, err := m.c.ContainerExecCreate(ctx, id, container.ExecOptions{User: user, Cmd: argv, AttachStdout: true, AttachStderr: true})
	if err != nil {
		return Result{}, said(err)
	}
	stream, err := m.c.ContainerExecAttach(ctx, made.ID, container.ExecAttachOptions{})
	if err != nil {
		return Result{}, said(err)
	}
	// The stream knows no context: its end must be made.
	stop := context.AfterFunc(ctx, stream.Close)
	defer stop()
	defer stream.Close()
	var stdout, stderr bytes.Buffer
	_, err = stdcopy.StdCopy(&stdout, &stderr, stream.Reader)
	if ctx.Err() != nil {
		return Result{}, ctx.Err()
	}
	if err != nil {
		return Result{}, err
	}
	for { // the streams end a moment before the engine has the status
		end, err := m.c.ContainerExecInspect(ctx, made.ID)
		if err != nil {
			return Result{}, said(err)
		}
		if !end.Running {
			return Result{Status: end.ExitCode, Stdout: stdout.String(), Stderr: stderr.String()}, nil
		}
		if err := wait.For(ctx, 5*time.Millisecond); err != nil {
			return Result{}, err
		}
	}
}

func (m *moby) SetMemory(ctx context.Context, id string, limit int64) error {
	if limit == 0 {
		limit = unlimited
	}
	_, err := m.c.ContainerUpdate(ctx, id, container.UpdateConfig{Resources: container.Resources{Memory: limit, MemorySwap: limit}})
	return said(err)
}

func (m *moby) Memory(ctx context.Context, id string) (Memory, error) {
	r, err := m.c.ContainerStatsOneShot(ctx, id)
	if err != nil {
		return Memory{}, said(err)
	}
	defer func() { _ = r.Body.Close() }()
	var s container.StatsResponse
	if err := json.NewDecoder(r.Body).Decode(&s); err != nil {
		return Memory{}, err
	}
	of := s.MemoryStats
	mem := Memory{Limit: int64(of.Limit), Used: int64(of.Usage), MajorFaults: int64(of.Stats["pgmajfault"])}
	for _, file := range []string{"total_inactive_file", "total_active_file", "inactive_file", "active_file"} {
		if strings.HasPrefix(file, "total_") == (of.Stats["total_rss"] > 0) { // cgroup v1 has both, and counts children in the totals
			mem.Cache += int64(of.Stats[file])
		}
	}
	return mem, nil
}

func (m *moby) OOMs(ctx context.Context, id string, since time.Time) (int, error) {
	f := filters.NewArgs(filters.Arg("container", id), filters.Arg("event", string(events.ActionOOM)))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	all, failed := m.c.Events(ctx, events.ListOptions{Since: stamp(since), Until: stamp(time.Now()), Filters: f})
	for n := 0; ; {
		select {
		case <-all:
			n++
		case err := <-failed:
			if errors.Is(err, io.EOF) {
				return n, nil
			}
			return 0, said(err)
		}
	}
}

// stamp is a time as the engine takes it.
func stamp(t time.Time) string { return fmt.Sprintf("%d.%09d", t.Unix(), t.Nanosecond()) }

func (m *moby) CreateNetwork(ctx context.Context, spec NetworkSpec) (string, error) {
	made, err := m.c.NetworkCreate(ctx, spec.Name, network.CreateOptions{
		Driver: "bridge", Labels: spec.Labels,
		IPAM: &network.IPAM{Config: []network.IPAMConfig{{Subnet: spec.Subnet, Gateway: spec.Gateway}}},
	})
	return made.ID, said(err)
}

func (m *moby) RemoveNetwork(ctx context.Context, id string) error {
	return unlessGone(m.c.NetworkRemove(ctx, id))
}

func (m *moby) Networks(ctx context.Context, label string) ([]Network, error) {
	list, err := m.c.NetworkList(ctx, network.ListOptions{Filters: labelled(label)})
	if err != nil {
		return nil, said(err)
	}
	var all []Network
	for _, s := range list {
		n := Network{ID: s.ID, Name: s.Name, Labels: s.Labels}
		for _, c := range s.IPAM.Config {
			n.Subnets = append(n.Subnets, c.Subnet)
		}
		all = append(all, n)
	}
	return all, nil
}

func (m *moby) Connect(ctx context.Context, network, container, addr string, names ...string) error {
	return said(m.c.NetworkConnect(ctx, network, container, endpoint(addr, names...)))
}

func (m *moby) Disconnect(ctx context.Context, network, container string) error {
	return said(m.c.NetworkDisconnect(ctx, network, container, true))
}

func (m *moby) CreateVolume(ctx context.Context, spec VolumeSpec) error {
	o := volume.CreateOptions{Name: spec.Name, Labels: spec.Labels, Driver: "local"}
	if spec.Size > 0 {
		o.DriverOpts = map[string]string{"type": "tmpfs", "device": "tmpfs", "o": "size=" + strconv.FormatInt(spec.Size, 10)}
	}
	_, err := m.c.VolumeCreate(ctx, o)
	return said(err)
}

func (m *moby) RemoveVolume(ctx context.Context, name string) error {
	return unlessGone(m.c.VolumeRemove(ctx, name, true))
}

func (m *moby) Volumes(ctx context.Context, label string) ([]Volume, error) {
	list, err := m.c.VolumeList(ctx, volume.ListOptions{Filters: labelled(label)})
	if err != nil {
		return nil, said(err)
	}
	var all []Volume
	for _, v := range list.Volumes {
		all = append(all, Volume{Name: v.Name, Labels: v.Labels})
	}
	return all, nil
}
