package link

import (
	"bytes"
	"io"
	"net"
	"strconv"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"
)

// A line of some length delays every byte and the end, each way once, whatever the gates do or no longer do.
func TestDelay(t *testing.T) {
	const line = 40 * time.Millisecond
	s := newServer(t)
	l := newLinkOf(t, Loopback, Spec{From: "n2", To: "n1", Server: s.Addr().String(), Delay: line})
	c, sc := dial(t, l, s)
	least := func(want time.Duration, what string, f func()) {
		t.Helper()
		start := time.Now()
		f()
		if took := time.Since(start); took < want {
			t.Errorf("%s took %s, less than %s", what, took, want)
		}
	}
	up := func() { t.Helper(); send(t, c, "question"); expect(t, sc, "question") }
	down := func() { t.Helper(); send(t, sc, "answer"); expect(t, c, "answer") }
	least(line, "up", up)
	least(line, "down", down)
	if g := l.Get(Upstream); g != (Gate{}) {
		t.Errorf("the gate shows %+v", g)
	}
	if st := l.Stats(); st.Delay != line || st.Delayed != 0 {
		t.Errorf("%+v", st)
	}
	l.Set(Upstream, Gate{Latency: 60 * time.Millisecond})
	least(line+60*time.Millisecond, "up under a latency", up)
	least(line, "down", down)
	l.Heal()
	least(line, "up after healing", up)

	// Healing lets held bytes go at once, but not faster than the line is.
	l.Set(Downstream, Gate{Latency: time.Hour})
	least(line, "down while a latency is healed", func() { send(t, sc, "held"); l.Heal(); expect(t, c, "held") })
	l.Set(Upstream, Gate{Stall: true})
	send(t, c, "stalled")
	nothing(t, sc)
	l.Heal()
	expect(t, sc, "stalled")

	// What comes in pieces leaves in order, and the end last.
	var all bytes.Buffer
	least(line, "the end of file", func() {
		for i := range 50 {
			all.WriteByte(byte(i))
			send(t, c, string(rune(i)))
		}
		if err := c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(sc); err != nil || !bytes.Equal(got, all.Bytes()) {
			t.Errorf("%q, %v", got, err)
		}
	})
	down()
}

// A cut counts bytes where they leave, so that a line's length does not change what arrives.
func TestCutAfterOnALongLine(t *testing.T) {
	s := newServer(t)
	l := newLinkOf(t, Loopback, Spec{From: "n2", To: "n1", Server: s.Addr().String(), Delay: 20 * time.Millisecond})
	c, sc := dial(t, l, s)
	l.Set(Upstream, Gate{CutAfter: 4})
	send(t, c, "123456")
	if got, _ := io.ReadAll(sc); string(got) != "1234" { // its end may be a reset
		t.Errorf("%q", got)
	}
}

// A link can be given its port, at the address of its set.
func TestListensWhereItIsTold(t *testing.T) {
	for _, bind := range []string{"127.0.0.1", "0.0.0.0", "::"} {
		s := newServer(t)
		port := freePort(t)
		l := newLinkOf(t, bind, Spec{From: "n2", To: "n1", Port: port, Server: s.Addr().String()})
		if _, p, err := net.SplitHostPort(l.Addr()); err != nil || p != strconv.Itoa(port) {
			t.Errorf("%s: listens at %s, want port %d", bind, l.Addr(), port)
		}
		c, err := net.DialTimeout("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), wait)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(wait))
		send(t, c, "hello")
		sc := <-s.conns
		expect(t, sc, "hello")
		_, _ = c.Close(), sc.Close()
	}
	if _, err := NewSet("localhost", 1, zaptest.NewLogger(t)); err == nil {
		t.Error("a name in place of an address")
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}
