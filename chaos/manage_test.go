package chaos

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/topology"
	"github.com/spockchaos/spockchaos/topology/attach"
	"github.com/spockchaos/spockchaos/topology/local/localtest"
	"github.com/spockchaos/spockchaos/topology/wait"
)

func TestTeller(t *testing.T) {
	core, logs := observer.New(zapcore.InfoLevel)
	now := time.Unix(0, 0)
	teller := &teller{log: zap.New(core), clock: func() time.Time { return now }}
	at := func(position rundir.LSN, held string) Advance {
		return Advance{Node: "n2", Position: position, HeldBy: held, Retained: 7}
	}
	gone := Advance{Node: "n2", Err: errors.New("connection refused")}
	for _, step := range []struct {
		what string
		give []Advance
		want []string
	}{
		{"the first", []Advance{at(10, "")}, []string{"managing"}},
		{"it moves", []Advance{at(11, ""), at(12, "n3 for n1: behind"), at(13, "")}, nil},
		{"it is where it was, and nothing holds it", []Advance{at(13, ""), at(13, ""), at(13, ""), at(13, "")}, nil},
		{"held for a moment", []Advance{at(13, "n3"), at(13, "n3"), at(14, "")}, nil},
		{"held", []Advance{at(14, "n3"), at(14, "n3"), at(14, "n3"), at(14, "n3")}, []string{"slot held n3"}},
		{"by another", []Advance{at(14, "n1"), at(14, "n1")}, []string{"slot held n1"}},
		{"no more", []Advance{at(15, ""), at(16, "")}, []string{"slot moves again"}},
		{"no answer", []Advance{gone, gone, gone}, []string{"no advance connection refused"}},
		{"an answer", []Advance{at(16, ""), at(17, "")}, []string{"advances again"}},
	} {
		for _, a := range step.give {
			now = now.Add(time.Second)
			teller.tell(a)
		}
		var got []string
		for _, e := range logs.TakeAll() {
			says := e.Message
			for _, f := range e.Context {
				if f.Key == "by" || f.Key == "why" {
					says += " " + f.String
				}
			}
			got = append(got, says)
		}
		if !slices.Equal(got, step.want) {
			t.Errorf("%s: %q, want %q", step.what, got, step.want)
		}
	}
	now = now.Add(stateEvery)
	teller.tell(at(100, ""))
	if all := logs.TakeAll(); len(all) != 1 || all[0].Message != "slot advanced" || all[0].ContextMap()["bytes"] != int64(85) {
		t.Errorf("a minute later: %+v", all)
	}
}

// TestManage plays the manager for nodes without procedures, of which one goes away and comes back.
func TestManage(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cluster := localtest.Start(t, 3)
	var nodes []attach.Node
	for _, n := range cluster.Nodes() {
		nodes = append(nodes, attach.Node{Name: n.Name(), DSN: n.DSN()})
	}
	core, logs := observer.New(zapcore.InfoLevel)
	m := Managing{Nodes: nodes, Period: 100 * time.Millisecond, Log: zap.New(core), Clock: time.Now}
	for says, change := range map[string]func(m *Managing){
		"n1 has no recovery procedures: --install": func(*Managing) {},
		"n1: its DSN leads to node n2":             func(m *Managing) { m.Nodes = []attach.Node{{Name: "n1", DSN: nodes[1].DSN}} },
		"n9 does not answer: connection refused":   func(m *Managing) { m.Nodes = []attach.Node{{Name: "n9", DSN: "host=127.0.0.1 port=1"}} },
	} {
		wrong := m
		change(&wrong)
		var usage *UsageError
		if err := Manage(ctx, wrong); !errors.As(err, &usage) || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want %q", err, says)
		}
	}

	m.Install = true
	managing, stop := context.WithCancel(ctx)
	ended := make(chan error)
	go func() { ended <- Manage(managing, m) }()
	until := func(what string, seen func() bool) {
		t.Helper()
		for !seen() {
			if wait.For(ctx, 20*time.Millisecond) != nil {
				t.Fatalf("still not: %s; the log has %v", what, logs.All())
			}
		}
	}
	logged := func(message, field, part string) func() bool {
		return func() bool {
			for _, e := range logs.All() {
				if strings.HasPrefix(e.Message, message) && strings.Contains(fmt.Sprint(e.ContextMap()[field]), part) {
					return true
				}
			}
			return false
		}
	}
	position := func() (at string) {
		if err := onNode(ctx, cluster, "n1", func(c *pgx.Conn) error {
			return c.QueryRow(ctx, `SELECT coalesce(confirmed_flush_lsn, '0/0')::text FROM spock.get_recovery_slot_status()`).Scan(&at)
		}); err != nil {
			t.Fatal(err)
		}
		return at
	}
	for _, n := range nodes {
		until(n.Name+" is managed", logged("managing", "node", n.Name))
	}
	before := position()
	until("the slot of n1 advances", func() bool { return position() != before })
	if err := cluster.Node("n2").Stop(ctx, topology.StopKill); err != nil {
		t.Fatal(err)
	}
	until("n1 says that n2 holds its slot", func() bool {
		for _, e := range logs.All() {
			if f := e.ContextMap(); e.Message == "slot held" && f["node"] == "n1" && strings.HasPrefix(fmt.Sprint(f["by"]), "n2: ") {
				return true
			}
		}
		return false
	})
	until("n2 is missed", logged("no advance", "node", "n2"))
	if err := cluster.Node("n2").Start(ctx); err != nil {
		t.Fatal(err)
	}
	until("n2 is managed again", logged("advances again", "node", "n2"))
	until("the slot of n1 moves again", logged("slot moves again", "node", "n1"))
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
