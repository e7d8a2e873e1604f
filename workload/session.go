package workload

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/spockchaos/spockchaos/workload/history"
)

// session is one serial client.
type session struct {
	history.Session
	cfg     Config
	dsn     string
	log     *zap.Logger
	clock   func() time.Time
	stats   *shard
	limiter *rate.Limiter // nil for no cap
	hist    *history.Writer

	rand   *rand.Rand // what is written
	jitter *rand.Rand // when a connection is tried again; apart, so that faults do not change what is written
	kind   kind
	plan   plan
	w      *wire // nil while there is no connection
	n      int64 // of the transaction drawn last

	unresolved bool // what became of transaction n must be looked up before the next is drawn
	stale      bool // the registers must be read again
	surprised  bool // asPlanned has found something once
}

// Waits between attempts to connect.
const (
	minBackoff = 50 * time.Millisecond
	maxBackoff = 500 * time.Millisecond
)

// run works until ctx is done. Its error means that the history cannot be written.
func (s *session) run(ctx context.Context) error {
	defer s.disconnect()
	backoff := minBackoff
	for ctx.Err() == nil {
		if s.w == nil {
			if err := s.connect(ctx); err != nil {
				if ctx.Err() != nil {
					return nil
				}
				s.log.Debug("no connection", zap.Int("session", s.ID), zap.String("node", s.Node), zap.Error(err))
				if err := s.hist.Flush(); err != nil {
					return err
				}
				pause(ctx, backoff/2+time.Duration(s.jitter.Int64N(int64(backoff/2))))
				backoff = min(2*backoff, maxBackoff)
				continue
			}
			backoff = minBackoff
		}
		if ok, err := s.turn(ctx); err != nil {
			return err
		} else if !ok {
			return nil
		}
		if err := s.operate(ctx); err != nil {
			return err
		}
	}
	return nil
}

// turn waits until the rate allows an operation; false if ctx is done before.
func (s *session) turn(ctx context.Context) (bool, error) {
	if s.limiter == nil {
		return true, nil
	}
	wait := s.limiter.Reserve().Delay()
	if wait <= 0 {
		return true, nil
	}
	if err := s.hist.Flush(); err != nil {
		return false, err
	}
	return pause(ctx, wait), nil
}

// connect makes a connection, sees to it that the session's old backend is gone, and
// brings what the session knows up to date.
func (s *session) connect(ctx context.Context) error {
	w, err := dial(ctx, s.dsn, applicationName(s.ID), s.cfg.ConnectTimeout, s.cfg.StopGrace)
	if err != nil {
		return fmt.Errorf("connect to %s: %w", s.Node, err)
	}
	s.w = w
	if err = fence(ctx, w, s.ID, s.cfg.OpTimeout); err == nil {
		err = s.catchUp()
	}
	if err != nil {
		s.disconnect()
		return fmt.Errorf("session %d on %s: %w", s.ID, s.Node, err)
	}
	return nil
}

func (s *session) disconnect() {
	if s.w != nil {
		s.w.close()
		s.w = nil
	}
}

// catchUp finds out, behind the fence, what the session does not know.
func (s *session) catchUp() error {
	if s.unresolved {
		var q plan
		found := false
		q.begin(stHasMarker, 0).int4(s.ID).int8(s.n)
		if err := s.w.ask(s.cfg.OpTimeout, &q, func([][]byte) { found = true }); err != nil {
			return fmt.Errorf("look up transaction %d: %w", s.n, err)
		}
		s.unresolved = false
		s.kind.settle(found)
	}
	if s.stale {
		var q plan
		var keys []int64
		var bad error
		q.begin(stKeys, 0).int8(registerKey(s.ID, 0)).int8(registerKey(s.ID, registers-1))
		err := s.w.ask(s.cfg.OpTimeout, &q, func(values [][]byte) {
			k, err := int8Value(values)
			if err != nil {
				bad = err
			}
			keys = append(keys, k)
		})
		if err == nil {
			err = bad
		}
		if err != nil {
			return fmt.Errorf("read the registers: %w", err)
		}
		s.stale = false
		s.kind.reload(keys)
	}
	return nil
}

// operate does one transaction. Its error means that the history cannot be written:
// then nothing more is sent.
func (s *session) operate(ctx context.Context) error {
	s.n++
	p := &s.plan
	p.reset(s.n)
	s.kind.next(s.rand, p)
	invoked := s.clock()
	if err := s.hist.Invoke(s.n, invoked, p.effects); err != nil {
		return err
	}
	var outcome history.Outcome
	var state string
	if len(p.steps) == 1 {
		outcome, state = s.single(p)
	} else {
		outcome, state = s.transaction(ctx, p)
	}
	completed := s.clock()
	if err := s.hist.Complete(s.n, completed, outcome, state); err != nil {
		return err
	}
	s.stats.count(outcome, completed.Sub(invoked))
	if outcome == history.Unknown {
		s.unresolved = true
		s.disconnect() // connect looks it up, behind the fence
		return nil
	}
	s.kind.settle(outcome == history.OK)
	if s.stale {
		s.disconnect()
	}
	return nil
}

// single sends the marker alone, as a statement that commits by itself.
func (s *session) single(p *plan) (history.Outcome, string) {
	s.w.queueStep(p, &p.steps[0])
	err := s.w.send(s.cfg.OpTimeout)
	var r reply
	if err == nil {
		r = s.w.receive(nil)
	}
	outcome, state := classify(inStatement, err, r)
	if err != nil || r.lost != nil || r.status != 'I' {
		s.disconnect()
	}
	return outcome, state
}

// transaction sends BEGIN and the steps, in one batch or in two, waits for their
// answers, and then sends COMMIT.
func (s *session) transaction(ctx context.Context, p *plan) (history.Outcome, string) {
	from := 0
	for from < len(p.steps) {
		to := len(p.steps)
		if from == 0 && p.breakAt > 0 {
			to = p.breakAt
		}
		if outcome, state, ok := s.batch(p, from, to); !ok {
			return outcome, state
		}
		if from = to; from < len(p.steps) && p.hold > 0 {
			if err := s.hist.Flush(); err != nil {
				// The next write of the history says it again, and ends the session.
				s.log.Error("history", zap.Int("session", s.ID), zap.Error(err))
			}
			pause(ctx, p.hold)
		}
	}
	s.w.queue(stCommit)
	err := s.w.send(s.cfg.OpTimeout)
	var r reply
	if err == nil {
		r = s.w.receive(nil)
	}
	outcome, state := classify(inCommit, err, r)
	if err != nil || r.lost != nil || r.status != 'I' {
		s.disconnect()
	}
	return outcome, state
}

// batch sends the steps from to to. If they did not all succeed it rolls back, or
// gives the connection up, and ok is false.
func (s *session) batch(p *plan, from, to int) (outcome history.Outcome, state string, ok bool) {
	skip := 0
	if from == 0 {
		s.w.queue(stBegin)
		skip = 1
	}
	for i := from; i < to; i++ {
		s.w.queueStep(p, &p.steps[i])
	}
	err := s.w.send(s.cfg.OpTimeout)
	var r reply
	if err == nil {
		r = s.w.receive(nil)
	}
	if err == nil && r.failure() == nil && r.status == 'T' && s.asPlanned(p, from, to, skip) {
		return history.Unknown, "", true
	}
	outcome, state = classify(inTransaction, err, r)
	if err != nil || r.lost != nil || !s.rollback() {
		s.disconnect()
	}
	return outcome, state, false
}

// asPlanned says whether each step affected the rows that it must. If not, the
// database does not hold what the session knows of: a write of its own is missing
// there, or is back. The session must not commit on top of it as if nothing were.
func (s *session) asPlanned(p *plan, from, to, skip int) bool {
	for i := from; i < to; i++ {
		at := i - from + skip
		if at < len(s.w.counts) && s.w.counts[at] == p.steps[i].rows {
			continue
		}
		text, _ := p.steps[i].st.sql()
		got := int64(-1)
		if at < len(s.w.counts) {
			got = s.w.counts[at]
		}
		level := zap.WarnLevel
		if s.surprised {
			level = zap.DebugLevel // once is enough for a reader; the history has every failure
		}
		s.surprised = true
		s.log.Log(level, "a statement affected other rows than it must: transaction rolled back",
			zap.Int("session", s.ID), zap.String("node", s.Node), zap.Int64("n", p.n),
			zap.String("statement", text), zap.Int64("rows", got), zap.Int64("expected", p.steps[i].rows))
		s.stale = true
		return false
	}
	return true
}

func (s *session) rollback() bool {
	s.w.queue(stRollback)
	if err := s.w.send(s.cfg.OpTimeout); err != nil {
		return false
	}
	r := s.w.receive(nil)
	return r.failure() == nil && r.status == 'I'
}
