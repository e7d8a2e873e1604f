package fault

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/topology/engine"
	"github.com/spockchaos/spockchaos/topology/link"
)

const ms = time.Millisecond

func TestRunByTheClock(t *testing.T) {
	f := newFakes(t)
	x := f.executor()
	start := time.Now()
	err := x.Run(t.Context(), []rundir.PlannedFault{
		{ID: 1, Name: "kill", Target: "n2", At: 50 * ms, For: 200 * ms},
		{ID: 2, Name: "lag", Target: "n1>n3", Parameters: Params{"latency_ms": 5.0, "jitter_ms": 1.0}, At: 10 * ms, For: 400 * ms},
		{ID: 3, Name: "stall", Target: "n3>n1", Parameters: Params{"direction": "down"}, At: 20 * ms},
	}, start)
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[int][2]time.Duration{1: {50 * ms, 250 * ms}, 2: {10 * ms, 410 * ms}} {
		r := f.recorded(t, id)
		if !r.Effect || r.Proof == "" || r.EndProof == "" || r.Error != "" {
			t.Errorf("%+v", r)
		}
		if !r.PlannedAt.Equal(start.Add(want[0])) || r.StartedAt.Before(r.PlannedAt) || r.EndedAt.Before(start.Add(want[1])) {
			t.Errorf("%s: planned %s, started %s, ended %s", r.Name, r.PlannedAt.Sub(start), r.StartedAt.Sub(start), r.EndedAt.Sub(start))
		}
	}
	if got := x.Active(); !slices.Equal(got, []string{"stall n3>n1"}) {
		t.Errorf("active after the plan: %v", got)
	}
	if err := x.HealAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := f.recorded(t, 3); !r.Effect || r.EndedAt.IsZero() || !strings.Contains(r.EndProof, "is answered") {
		t.Errorf("%+v", r)
	}
	if got := x.Active(); len(got) != 0 {
		t.Errorf("active after HealAll: %v", got)
	}
	if err := x.HealAll(t.Context()); err != nil {
		t.Errorf("healing again: %v", err)
	}
}

func TestCancelHealsEverything(t *testing.T) {
	f := newFakes(t)
	x := f.executor()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- x.Run(ctx, []rundir.PlannedFault{
			{ID: 1, Name: "kill", Target: "n2", For: time.Hour},
			{ID: 2, Name: "partition", Target: "n1<>n3"},
			{ID: 3, Name: "pause", Target: "n3", At: time.Hour, For: time.Hour},
		}, time.Now())
	}()
	if err := until(t.Context(), func() (bool, error) { return len(x.Active()) == 2, nil }); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if why := f.env.outOfService("n2"); why != "" {
		t.Error(why)
	}
	for name, l := range f.cluster.links {
		if l.Get(link.Upstream) != (link.Gate{}) || l.Get(link.Downstream) != (link.Gate{}) {
			t.Errorf("%s is not open", name)
		}
	}
	f.recorded(t, 1)
	f.recorded(t, 2)
	if len(f.records) != 2 {
		t.Errorf("records: %+v", f.records)
	}
}

func TestNodeFaultsQueueForNobody(t *testing.T) {
	f := newFakes(t)
	x := f.executor()
	err := x.Run(t.Context(), []rundir.PlannedFault{
		{ID: 1, Name: "kill", Target: "n2", For: 300 * ms},
		{ID: 2, Name: "pause", Target: "n2", At: 100 * ms, For: 50 * ms},
		{ID: 3, Name: "terminate_walsender", Target: "n1>n2", At: 100 * ms, For: 50 * ms},
		{ID: 4, Name: "kill", Target: "n3", At: 100 * ms, For: 50 * ms},
	}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []int{2, 3} {
		if r := f.recorded(t, id); r.Effect || r.Error != "" || r.Proof != "not injected: n2 is under kill (fault 1)" || r.EndedAt.IsZero() {
			t.Errorf("%+v", r)
		}
	}
	for _, id := range []int{1, 4} {
		if r := f.recorded(t, id); !r.Effect {
			t.Errorf("%+v", r)
		}
	}
}

func TestTargetInNoState(t *testing.T) {
	f := newFakes(t)
	f.cluster.node("n2").pids = nil
	x := f.executor()
	if err := x.Run(t.Context(), []rundir.PlannedFault{
		{ID: 1, Name: "kill", Target: "n2", For: ms},
		{ID: 2, Name: "terminate_walsender", Target: "n1>n2", For: ms},
		{ID: 3, Name: "wal_recycle", Target: "n2", Parameters: Params{"every_ms": 100.0}, For: ms},
		{ID: 4, Name: "subscription_disabled", Target: "n2>n1", For: ms},
	}, time.Now()); err != nil {
		t.Fatal(err)
	}
	for id := 1; id <= 4; id++ {
		if r := f.recorded(t, id); r.Effect || r.Error != "" || !strings.Contains(r.Proof, "not injected: n2 is down") {
			t.Errorf("%+v", r)
		}
	}
}

func TestBadPlanInjectsNothing(t *testing.T) {
	f := newFakes(t)
	err := f.executor().Run(t.Context(), []rundir.PlannedFault{
		{ID: 1, Name: "kill", Target: "n2", For: ms},
		{ID: 2, Name: "flood", Target: "n2", For: ms},
	}, time.Now())
	if err == nil || !strings.Contains(err.Error(), "flood") || len(f.records) != 0 || len(f.events) != 0 {
		t.Errorf("error %v, records %v, events %v", err, f.records, f.events)
	}
}

// A node that does not start is tried again by HealAll; what cannot be healed
// then is recorded with its error and without an end.
func TestHealTriesAgain(t *testing.T) {
	refusal := errors.New("port taken")
	for _, tc := range []struct {
		name   string
		errs   []error
		healed bool
	}{
		{"once", []error{refusal}, true},
		{"always", []error{refusal, refusal}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFakes(t)
			f.cluster.node("n2").startErr = tc.errs
			x := f.executor()
			if err := x.Run(t.Context(), []rundir.PlannedFault{{ID: 1, Name: "kill", Target: "n2", For: 10 * ms}}, time.Now()); err != nil {
				t.Fatal(err)
			}
			if len(f.records) != 0 || len(x.Active()) != 1 {
				t.Errorf("it is recorded as ended: %+v", f.records)
			}
			err := x.HealAll(t.Context())
			r := f.recorded(t, 1)
			if (err == nil) != tc.healed || (r.Error == "") != tc.healed || r.EndedAt.IsZero() == tc.healed {
				t.Errorf("error %v, record %+v", err, r)
			}
			if !tc.healed && !strings.Contains(r.Error, "port taken") {
				t.Errorf("error %q", r.Error)
			}
		})
	}
}

// late is an active fault whose effect does not show at first.
type late struct{ proved int }

func (l *late) Prove(context.Context) (bool, string, error) {
	l.proved++
	return l.proved > 1, "looked", nil
}
func (l *late) Heal(context.Context) (string, error) { return "over", nil }

// What has no effect at first may have it later (a cut waits for traffic): it is measured again before the end.
func TestEffectIsMeasuredAgain(t *testing.T) {
	f := newFakes(t)
	x := f.executor()
	kind, _ := ByName("cut")
	r := &running{plan: rundir.PlannedFault{ID: 1, Name: "cut"}, fault: kind, active: &late{}, rec: rundir.Fault{ID: 1}}
	x.prove(t.Context(), r, proveLimit)
	if r.rec.Effect {
		t.Fatal("effect at once")
	}
	if err := x.heal(t.Context(), r, false); err != nil {
		t.Fatal(err)
	}
	if rec := f.recorded(t, 1); !rec.Effect || rec.EndProof != "over" {
		t.Errorf("%+v", rec)
	}
}

func TestLossIsRecordedAtOnceAndShown(t *testing.T) {
	f := newFakes(t)
	x := f.executor()
	if err := x.Run(t.Context(), []rundir.PlannedFault{
		{ID: 1, Name: "stall", Target: "n2>n1", Parameters: Params{"direction": "down"}},
		{ID: 2, Name: "loss", Target: "n1", At: 20 * ms},
	}, time.Now()); err != nil {
		t.Fatal(err)
	}
	if r := f.recorded(t, 2); !r.Effect || !r.EndedAt.IsZero() || r.EndProof != "for good" {
		t.Errorf("%+v", r)
	}
	if got := x.Active(); !slices.Equal(got, []string{"stall n2>n1", "loss n1"}) {
		t.Errorf("active: %v", got)
	}
	if err := x.HealAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := f.recorded(t, 1); !strings.Contains(r.EndProof, "n1 is lost") {
		t.Errorf("%+v", r)
	}
}

func TestLossIsHeldBack(t *testing.T) {
	f := newFakes(t)
	ready, asked := make(chan struct{}), make(chan struct{}, 1)
	f.env.BeforeLoss = func(ctx context.Context) string {
		asked <- struct{}{}
		select {
		case <-ready:
			return "somebody had a lead"
		case <-ctx.Done():
			return "nobody had"
		}
	}
	plan := []rundir.PlannedFault{{ID: 1, Name: "pause", Target: "n3", For: 20 * ms}, {ID: 2, Name: "loss", Target: "n1"}}

	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.executor().Run(ctx, plan[1:], time.Now()) }()
	<-asked
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if why := f.env.outOfService("n1"); why != "" || len(f.records) > 0 {
		t.Errorf("interrupted before the loss: %q, %+v", why, f.records)
	}

	x := f.executor()
	go func() { done <- x.Run(t.Context(), plan, time.Now()) }()
	<-asked
	released := time.Now()
	close(ready)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	r := f.recorded(t, 2)
	if !r.Effect || !strings.HasSuffix(r.Proof, "its data removed; somebody had a lead") || r.StartedAt.Before(released) {
		t.Errorf("released at %s: %+v", released, r)
	}
	if len(asked) > 0 {
		t.Error("another fault was held back")
	}
}

// subscribed is an engine with subscriptions to n1 and n3.
type subscribed struct {
	engine.Engine
	mu       sync.Mutex
	disabled map[string]bool
}

func (s *subscribed) Subscriptions(context.Context, *pgx.Conn) ([]engine.Subscription, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var subs []engine.Subscription
	for _, provider := range []string{"n1", "n3"} {
		status := statusReplicating
		if s.disabled[provider] {
			status = statusDisabled
		}
		subs = append(subs, engine.Subscription{Provider: provider, Status: status})
	}
	return subs, nil
}

func (s *subscribed) set(provider string, disabled bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.disabled[provider] = disabled
	return nil
}

func (s *subscribed) Disable(_ context.Context, _ *pgx.Conn, provider string) error {
	return s.set(provider, true)
}

func (s *subscribed) Enable(_ context.Context, _ *pgx.Conn, provider string) error {
	return s.set(provider, false)
}

func (s *subscribed) ApplyWorkers(context.Context, *pgx.Conn, string) ([]int32, error) {
	return nil, nil
}

func TestLagWaitsForANodeThatIsLate(t *testing.T) {
	f := newFakes(t)
	f.env.Engine = &subscribed{disabled: map[string]bool{}}
	x := f.executor()
	if err := x.Run(t.Context(), []rundir.PlannedFault{
		{ID: 1, Name: "kill", Target: "n2", For: 300 * ms},
		{ID: 2, Name: "subscription_disabled", Target: "n2>n1", At: 50 * ms},
		{ID: 3, Name: "subscription_disabled", Target: "n2>n3", At: 50 * ms, For: 100 * ms},
	}, time.Now()); err != nil {
		t.Fatal(err)
	}
	if r := f.recorded(t, 3); r.Effect || !strings.HasPrefix(r.Proof, "not injected: n2 is under kill") {
		t.Errorf("one that is to end soon: %+v", r)
	}
	killed := f.recorded(t, 1)
	if !x.On(2) || x.On(1) || x.On(3) {
		t.Errorf("on: %v", x.Active())
	}
	if err := x.HealAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := f.recorded(t, 2); r.StartedAt.Before(killed.StartedAt.Add(300*ms)) || x.On(2) {
		t.Errorf("the one that is to stay: %+v", r)
	}
}
