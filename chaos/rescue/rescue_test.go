package rescue

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spockchaos/spockchaos/topology"
	"github.com/spockchaos/spockchaos/topology/attach"
)

// TestFourNodes shares one cluster; each test has it as it was when it was made.
func TestFourNodes(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	b := newBed(ctx, t)
	for _, test := range []struct {
		name string
		run  func(*bed)
	}{
		{"alive", testAlive},
		{"rescue", testRescue},
		{"one after the other", testOneAfterTheOther},
		{"nobody lags", testNobodyLags},
		{"servers that do not reach each other", testApart},
		{"interrupted", testInterrupted},
		{"no WAL", testNoWAL},
		{"wrong use", testWrongUse},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(b.fresh(t)) })
	}
}

// A node that answers, or only may, is not rescued from.
func testAlive(b *bed) {
	b.lag("n3")
	before := b.state()
	r, p := b.plan(b.options())
	if all := strings.Join(p.Alive, "\n"); !strings.Contains(all, "it answers, seen from this machine") || !strings.Contains(all, "it answers, seen from n2") {
		b.Errorf("signs of life: %q", p.Alive)
	}
	if len(p.Targets) != 1 || p.Targets[0].Missing == nil || p.Targets[0].Missing.Transactions != lackedTransactions {
		b.Errorf("targets %+v", p.Targets)
	}
	p.Alive = nil // Run looks again itself
	_, err := r.Run(b.ctx, p, b.report())
	var usage *UsageError
	if !errors.As(err, &usage) || !strings.Contains(err.Error(), "n1 may still live") || strings.Count(err.Error(), "\n") > 2 {
		b.Errorf("rescuing from a living node: %v", err)
	}
	if after := b.state(); after != before {
		b.Errorf("it changed\n%s\nto\n%s", before, after)
	}

	// The survivors' addresses alone tell it as well; another password is an answer, too.
	o := b.options()
	o.FailedDSN = nil
	if _, p := b.plan(o); len(p.Alive) != 4 || slices.ContainsFunc(p.Alive, func(s string) bool { return !strings.HasPrefix(s, "it answers, seen from") }) {
		b.Errorf("signs of life, by the survivors' addresses: %q", p.Alive)
	}
	for _, n := range survivorNames {
		b.refuse(n, "n1")
	}
	o.FailedDSN = []string{strings.Replace(b.cluster.Node("n1").DSN(), "password=", "password=x", 1)}
	if _, p := b.plan(o); len(p.Alive) != 1 || !strings.Contains(p.Alive[0], "password authentication failed") {
		b.Errorf("signs of life, with a wrong password: %q", p.Alive)
	}
	// Stopped for a while, it accepts connections and says nothing.
	if err := b.cluster.Node("n1").Pause(b.ctx); err != nil {
		b.Fatal(err)
	}
	_, p = b.plan(b.options())
	if err := b.cluster.Node("n1").Resume(b.ctx); err != nil {
		b.Fatal(err)
	}
	if len(p.Alive) != 1 || !strings.Contains(p.Alive[0], "says nothing") {
		b.Errorf("signs of life, while it is stopped: %q", p.Alive)
	}
	// Its operator knows better: cut off in both directions it can do nothing.
	for _, n := range survivorNames {
		b.refuse("n1", n)
	}
	o = b.options()
	o.Fenced = true
	p, res := b.rescue(o)
	if len(p.Alive) != 0 {
		b.Errorf("signs of life of a fenced node: %q", p.Alive)
	}
	b.rescued(res, o)
}

func testRescue(b *bed) {
	b.lag("n3")
	b.lose()
	before := b.state()
	r, p := b.plan(b.options())
	if after := b.state(); after != before {
		b.Errorf("planning changed\n%s\nto\n%s", before, after)
	}
	if p.Source != "n2" || len(p.Targets) != 1 || p.Targets[0].Node != "n3" || len(p.Stays) > 0 || !slices.Equal(p.Remove, survivorNames) {
		b.Fatalf("plan %+v", p)
	}
	if len(p.Problems) > 0 || len(p.Alive) > 0 || p.Nothing() {
		b.Fatalf("plan %+v", p)
	}
	m := p.Targets[0].Missing
	if m == nil || m.Transactions != lackedTransactions || m.Changes != lackedChanges || m.First <= r.survivor("n3").Progress || m.Last != r.survivor("n2").Progress {
		b.Errorf("missing %+v, want %d transactions with %d changes", m, lackedTransactions, lackedChanges)
	}
	if m != nil && (m.FirstAt.After(m.LastAt) || time.Since(m.FirstAt) > time.Minute || time.Since(m.FirstAt) < 0) {
		b.Errorf("committed from %s to %s", m.FirstAt, m.LastAt)
	}
	res, err := r.Run(b.ctx, p, b.report())
	if err != nil {
		b.Fatal(err)
	}
	if len(res.Calls) != 1 || !res.Calls[0].Level || res.Calls[0].Transactions != lackedTransactions || !slices.Equal(res.Removed, survivorNames) {
		b.Errorf("result %+v", res)
	}
	b.rescued(res, b.options())
}

// n3 and n4 lag; first n3 alone is rescued, by a coordinator that is neither source nor target.
func testOneAfterTheOther(b *bed) {
	b.lag("n3", "n4")
	b.lose()
	o := b.options()
	o.Targets, o.Coordinator = []string{"n3"}, "n4"
	p, res := b.rescue(o)
	if len(p.Targets) != 1 || p.Targets[0].Coordinator != "n4" || !slices.Equal(p.Stays, []string{"n4"}) || len(p.Remove) > 0 {
		b.Errorf("plan %+v", p)
	}
	if !res.OK || len(res.Removed) > 0 {
		b.Errorf("result %+v", res)
	}
	if b.digest("n3") != b.digest("n2") || b.digest("n4") == b.digest("n2") {
		b.Error("not n3 was rescued, or not n3 alone")
	}
	if _, p := b.plan(o); !p.Nothing() || len(p.Stays) != 1 {
		b.Errorf("again for n3: %+v", p)
	}
	o = b.options()
	p, res = b.rescue(o)
	if len(p.Targets) != 1 || p.Targets[0].Node != "n4" || !slices.Equal(res.Removed, survivorNames) {
		b.Errorf("plan %+v, result %+v", p, res)
	}
	b.rescued(res, o)
}

func testNobodyLags(b *bed) {
	b.lag()
	b.lose()
	p, res := b.rescue(b.options())
	if len(p.Targets) != 0 || !slices.Equal(p.Remove, survivorNames) || p.Nothing() || len(res.Calls) > 0 || !slices.Equal(res.Removed, survivorNames) {
		b.Errorf("plan %+v, result %+v", p, res)
	}
	b.rescued(res, b.options())
}

// testApart is a cluster whose links are gone, as after a run with --keep: the servers reach each other as this machine reaches them.
func testApart(b *bed) {
	b.lag("n3")
	b.lose()
	for _, from := range survivorNames {
		for _, to := range survivorNames {
			if from != to {
				b.refuse(from, to)
			}
		}
	}
	o := b.options()
	o.ServerDSN["n2"] = b.cluster.Node("n4").DSN()
	if _, p := b.plan(o); len(p.Problems) != 1 || !strings.Contains(p.Problems[0], "the server of n3 does not reach n2: another server answers") {
		b.Errorf("by a way that leads elsewhere: %q", p.Problems)
	}
	b.exec("n2", `DELETE FROM spock.recovery_peer_slot`) // no manager has ever run there
	o = b.options()
	p, res := b.rescue(o)
	if all := strings.Join(res.Notes, "\n"); !strings.Contains(all, "_n1 on n2 keeps WAL and feeds no node that was named") {
		b.Errorf("notes %q", res.Notes)
	}
	b.exec("n2", `SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name LIKE '%\_n1'`)
	if !res.OK || !slices.Equal(res.Removed, survivorNames) {
		b.Errorf("plan %+v, result %+v", p, res)
	}
	for _, from := range survivorNames {
		for _, to := range survivorNames {
			if from != to {
				if err := b.cluster.Link(from, to).Heal(b.ctx); err != nil {
					b.Fatal(err)
				}
			}
		}
	}
	b.rescued(res, o)
}

// testInterrupted ends a rescue in the middle of its CALL, when the target's other subscriptions are suspended.
func testInterrupted(b *bed) {
	b.lag("n3")
	b.lose()
	r, p := b.plan(b.options())
	ctx, cancel := context.WithCancel(b.ctx)
	defer cancel()
	report := b.report()
	report.Notice = func(severity, text string) {
		b.Logf("  %s: %s", severity, text)
		if strings.HasPrefix(text, "replaying") {
			cancel()
		}
	}
	if _, err := r.Run(ctx, p, report); !errors.Is(err, context.Canceled) {
		b.Fatalf("interrupted: %v", err)
	}
	for _, peer := range []string{"n2", "n4"} {
		if b.get("n3", `SELECT enabled FROM spock.recovery_peer WHERE peer_node = '`+peer+`'`) != "true" {
			b.Errorf("n3's subscription to %s is still suspended", peer)
		}
	}
	_, res := b.rescue(b.options())
	b.rescued(res, b.options())
}

// testNoWAL has lost the source's recovery slot: the plan says that nothing can be done, and of what else it is told.
func testNoWAL(b *bed) {
	b.lag("n3", "n4")
	b.lose()
	b.exec("n2", `SELECT pg_drop_replication_slot(spock.recovery_slot_name())`)
	_, p := b.plan(b.options())
	if all := strings.Join(p.Problems, "\n"); !strings.Contains(all, "n3 from n2: recovery slot: does not exist") || p.Targets[0].Missing != nil {
		b.Errorf("plan %+v", p)
	}
	// Nor is n4 brought level with n3, which has less than n2, nor n1 removed for it.
	o := b.options()
	o.Source = "n3"
	r, p := b.plan(o)
	if len(p.Problems) != 1 || !strings.Contains(p.Problems[0], "n2 has more of n1 than n3") {
		b.Errorf("plan %+v", p)
	}
	before := b.state()
	var usage *UsageError
	if _, err := r.Run(b.ctx, p, b.report()); !errors.As(err, &usage) || !strings.Contains(err.Error(), "n2 has more") {
		b.Errorf("carried out: %v", err)
	}
	if after := b.state(); after != before {
		b.Errorf("it changed\n%s\nto\n%s", before, after)
	}
}

func testWrongUse(b *bed) {
	b.lag("n3")
	b.lose()
	b.exec("n4", `CREATE OR REPLACE FUNCTION spock.recovery_files_version() RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1'`)
	b.exec("n2", `CREATE DATABASE plain`)
	before := b.state()
	nowhere := "host=127.0.0.1 port=1 user=x dbname=x"
	for says, change := range map[string]func(*Options){
		"no survivor of n1 is named":             func(o *Options) { o.Survivors = nil },
		"n2 is named twice":                      func(o *Options) { o.Survivors = append(o.Survivors, o.Survivors[0]) },
		"n2: its DSN leads to node n3":           func(o *Options) { o.Survivors[0].DSN = o.Survivors[1].DSN },
		"n3 does not answer: connection refused": func(o *Options) { o.Survivors[1].DSN = nowhere; o.Maybe["n3"] = true },
		"n9 does not answer: connection refused": func(o *Options) { o.Survivors = append(o.Survivors, attach.Node{Name: "n9", DSN: nowhere}) },
		"n2: database plain is no node of ": func(o *Options) {
			o.Survivors[0].DSN = strings.Replace(o.Survivors[0].DSN, "dbname=chaos", "dbname=plain", 1)
		},
		`n2 lets nobody in: database "nix" does not exist`: func(o *Options) {
			o.Survivors[0].DSN = strings.Replace(o.Survivors[0].DSN, "dbname=chaos", "dbname=nix", 1)
		},
		"source n9 is none of the survivors":        func(o *Options) { o.Source = "n9" },
		"coordinator n1 is none of the survivors":   func(o *Options) { o.Coordinator = "n1" },
		"target n9 is none of the survivors":        func(o *Options) { o.Targets = []string{"n9"} },
		"n2 cannot be source and target":            func(o *Options) { o.Source, o.Targets = "n2", []string{"n2"} },
		"n4 has recovery procedures of version 1, ": func(*Options) {},
	} {
		o := b.options()
		change(&o)
		_, err := Open(b.ctx, o)
		var usage *UsageError
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "\n") {
			b.Errorf("%v, want %q", err, says)
		}
	}
	if after := b.state(); after != before {
		b.Errorf("it changed\n%s\nto\n%s", before, after)
	}
	o := b.options()
	o.Survivors = append(o.Survivors, attach.Node{Name: "n9", DSN: nowhere})
	o.Maybe["n9"] = true
	o.Install = true
	r, p := b.plan(o)
	if notes := strings.Join(p.Notes, "\n"); !strings.Contains(notes, "n9 does not answer, and no survivor subscribes to it: it is left out") || !strings.Contains(notes, "installed on n4") {
		b.Errorf("notes %q", p.Notes)
	}
	r.opts.Failed = "n9"
	var usage *UsageError
	if _, err := r.Plan(b.ctx); !errors.As(err, &usage) || !strings.Contains(err.Error(), "no survivor knows a node n9") {
		b.Errorf("a node that nobody knows: %v", err)
	}
	// A survivor that is not named counts all the same.
	o = b.options()
	o.Survivors = o.Survivors[:2]
	if err := b.cluster.Node("n4").Stop(b.ctx, topology.StopFast); err != nil {
		b.Fatal(err)
	}
	p, res := b.rescue(o)
	if len(p.Notes) != 1 || !strings.Contains(p.Notes[0], "survivors subscribe to n4, which was not named") {
		b.Errorf("notes %q", p.Notes)
	}
	if res.OK || len(res.Removed) > 0 || len(res.Wrong) != 1 || !strings.Contains(res.Wrong[0], "n1 is not removed: n2 subscribes to n4, which was not named (it does not answer)") {
		b.Errorf("result %+v", res)
	}
	if err := b.cluster.Node("n4").Start(b.ctx); err != nil {
		b.Fatal(err)
	}
	_, res = b.rescue(b.options())
	b.rescued(res, b.options())
}
