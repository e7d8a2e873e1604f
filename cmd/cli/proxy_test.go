package cli_test

import (
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spockchaos/spockchaos/cmd/cli"
)

func TestProxyRefusesBadInput(t *testing.T) {
	b := newBench(t)
	const good = "from=n2,to=n1,listen=7001,server=n1:5432"
	for want, args := range map[string][]string{
		"there is no --link to hold":                    nil,
		`link "n2>n1": "n2>n1" is not key=value`:        {"--link", "n2>n1"},
		"listen is missing":                             {"--link", "from=n2,to=n1,server=n1:5432"},
		"links n2>n1 and n3>n1 have the same port 7001": {"--link", good, "--link", "from=n3,to=n1,listen=7001,server=n1:5432"},
		`links cannot listen at "eth0"`:                 {"--link", good, "--bind", "eth0"},
		"control API: listen tcp: address 8475":         {"--link", good, "--control", "8475"},
		"--seed":                                        {"--link", good, "--seed", "x"},
		"leave --link out":                              {"--link", good, "--healthy", "127.0.0.1:1"},
		"asking 127.0.0.1:1 for its links: ":            {"--healthy", "127.0.0.1:1"},
		`"now": spockchaos proxy takes no arguments`:    {"now"},
		"unknown flag: --links; see `spockchaos proxy":  {"--links", good},
	} {
		before := len(b.err.String())
		code := b.main(append([]string{"proxy"}, args...)...)
		text := b.err.String()[before:]
		complaints := 0
		for line := range strings.Lines(text) {
			if strings.HasPrefix(line, "spockchaos: ") {
				complaints++
			}
		}
		if code != cli.ExitNotRun || complaints != 1 || !strings.Contains(text, want) {
			t.Errorf("%q: status %d, %q; want %q", args, code, text, want)
		}
	}
}

func TestProxyUntilItIsToldToEnd(t *testing.T) {
	b := newBench(t)
	subscribed := make(chan chan<- os.Signal, 1)
	b.Notify = func(c chan<- os.Signal) func() { subscribed <- c; return func() {} }
	server, err := net.Listen("tcp", "127.0.0.1:0") // never accepts, which a client does not see
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Close() }()
	addrs := append(freeAddrs(t, 3), server.Addr().String())
	_, port, _ := net.SplitHostPort(addrs[0])
	ended := make(chan int, 1)
	go func() {
		ended <- b.main("proxy", "--control", addrs[1], "--api", addrs[2], "--seed", "5",
			"--link", fmt.Sprintf("from=client,to=n1,listen=%s,server=%s,delay=1ms", port, addrs[3]))
	}()
	const limit = 20 * time.Second
	other := newBench(t)
	for until := time.Now().Add(limit); ; time.Sleep(5 * time.Millisecond) {
		if code := other.main("proxy", "--healthy", addrs[1]); code == cli.ExitPass {
			break
		}
		if time.Now().After(until) {
			t.Fatalf("it is not healthy: %s", b.err.String())
		}
	}
	c, err := net.DialTimeout("tcp", addrs[0], limit)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	(<-subscribed) <- syscall.SIGTERM
	select {
	case code := <-ended:
		if code != cli.ExitPass {
			t.Errorf("status %d", code)
		}
	case <-time.After(limit):
		t.Fatal("it does not end")
	}
	for _, want := range []string{"link client>n1", addrs[0], addrs[3], "1ms", "control API", addrs[1], "Toxiproxy API", addrs[2], "closing every link"} {
		if !strings.Contains(b.err.String(), want) {
			t.Errorf("the log does not say %q:\n%s", want, b.err.String())
		}
	}
}

func freeAddrs(t *testing.T, n int) []string {
	t.Helper()
	addrs := make([]string, n)
	for i := range addrs {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }()
		addrs[i] = l.Addr().String()
	}
	return addrs
}
