package workload

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// wire is a connection on which a session speaks the protocol itself. pgconn makes
// the connection; after that nothing stands between the session and the socket, so
// that it knows exactly what was sent and what was answered, an operation costs one
// write and one read, and closing the connection is the end of it (pgconn goes on in
// the background, cancelling and draining through a link that may be stalled).
type wire struct {
	conn    net.Conn
	fe      *pgproto3.Frontend
	pid     uint32
	release func() bool // ends the watch on the context

	mu   sync.Mutex
	stop time.Time // no deadline is later; zero for none

	bind    pgproto3.Bind
	execute pgproto3.Execute
	params  [][]byte
	counts  []int64 // rows affected by each statement of the batch that was read last
}

var binaryFormat = []int16{1} // read-only

// dial connects and prepares every statement. application_name is name. The
// connection is good for ctx and, so that operations in flight can end, grace longer.
func dial(ctx context.Context, dsn, name string, limit, grace time.Duration) (*wire, error) {
	cfg, err := pgconn.ParseConfig(dsn)
	if err != nil {
		return nil, err
	}
	cfg.ConnectTimeout = limit
	cfg.RuntimeParams["application_name"] = name
	cfg.RuntimeParams["synchronous_commit"] = "on"
	dialer := &net.Dialer{
		Timeout:         limit,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 2 * time.Second, Interval: time.Second, Count: 3},
	}
	cfg.DialFunc = dialer.DialContext
	dctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	c, err := pgconn.ConnectConfig(dctx, cfg)
	if err != nil {
		return nil, err
	}
	h, err := c.Hijack()
	if err != nil {
		return nil, err
	}
	w := &wire{conn: h.Conn, fe: h.Frontend, pid: h.PID}
	w.release = context.AfterFunc(ctx, func() { w.expire(time.Now().Add(grace)) })
	if err := w.prepare(limit); err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

// expire lets no answer be waited for beyond t.
func (w *wire) expire(t time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stop = t
	_ = w.conn.SetDeadline(t)
}

func (w *wire) deadline(limit time.Duration) error {
	t := time.Now().Add(limit)
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.stop.IsZero() && w.stop.Before(t) {
		t = w.stop
	}
	return w.conn.SetDeadline(t)
}

// close ends the connection without a word: what the server still does is the fence's business.
func (w *wire) close() {
	w.release()
	_ = w.conn.Close()
}

func (w *wire) prepare(limit time.Duration) error {
	for st := range statements {
		text, oids := st.sql()
		w.fe.SendParse(&pgproto3.Parse{Name: st.name(), Query: text, ParameterOIDs: oids})
	}
	if err := w.send(limit); err != nil {
		return fmt.Errorf("prepare the statements: %w", err)
	}
	r := w.receive(nil)
	if err := r.failure(); err != nil {
		return fmt.Errorf("prepare the statements: %w", err)
	}
	return nil
}

// queue puts a statement without rows or parameters to the next batch.
func (w *wire) queue(st statement) {
	w.bind = pgproto3.Bind{PreparedStatement: st.name(), Parameters: w.params[:0]}
	w.fe.SendBind(&w.bind)
	w.fe.SendExecute(&w.execute)
}

// queueStep puts a step of p to the next batch.
func (w *wire) queueStep(p *plan, s *step) {
	w.params = w.params[:0]
	b := p.params[s.from:s.to]
	for range s.count {
		n := 4 + binary.BigEndian.Uint32(b)
		w.params = append(w.params, b[4:n])
		b = b[n:]
	}
	w.bind = pgproto3.Bind{PreparedStatement: s.st.name(), ParameterFormatCodes: binaryFormat, Parameters: w.params, ResultFormatCodes: binaryFormat}
	w.fe.SendBind(&w.bind)
	w.fe.SendExecute(&w.execute)
}

// send sends the batch, to be answered within limit.
func (w *wire) send(limit time.Duration) error {
	w.fe.SendSync(&pgproto3.Sync{})
	if err := w.deadline(limit); err != nil {
		return &notSentError{err}
	}
	err := w.fe.Flush()
	if err == nil {
		return nil
	}
	if _, plain := w.conn.(*net.TCPConn); plain && pgconn.SafeToRetry(err) {
		return &notSentError{err}
	}
	return err
}

// notSentError says that not one byte was given to the system.
type notSentError struct{ err error }

func (e *notSentError) Error() string { return "nothing was sent: " + e.err.Error() }
func (e *notSentError) Unwrap() error { return e.err }

// reply is what came back for one batch.
type reply struct {
	server *pgconn.PgError // the server's first error, nil if there was none
	lost   error           // why the connection gave no further answer, nil if ReadyForQuery came
	done   int             // statements that were completed
	tag    endTag          // of the last of them
	status byte            // of ReadyForQuery: 'I' idle, 'T' in a transaction, 'E' in a failed one
}

type endTag uint8

const (
	tagOther endTag = iota
	tagCommit
	tagRollback
)

func (r *reply) failure() error {
	if r.server != nil {
		return r.server
	}
	return r.lost
}

// receive reads the answers to a batch. row, which may be nil, is given the rows.
func (w *wire) receive(row func(values [][]byte)) reply {
	var r reply
	w.counts = w.counts[:0]
	for {
		msg, err := w.fe.Receive()
		if err != nil {
			r.lost = err
			return r
		}
		switch m := msg.(type) {
		case *pgproto3.CommandComplete:
			r.done++
			r.tag = parseTag(m.CommandTag)
			w.counts = append(w.counts, tagRows(m.CommandTag))
		case *pgproto3.DataRow:
			if row != nil {
				row(m.Values)
			}
		case *pgproto3.ErrorResponse:
			if r.server == nil {
				r.server = pgconn.ErrorResponseToPgError(m)
			}
		case *pgproto3.ReadyForQuery:
			r.status = m.TxStatus
			return r
		}
	}
}

// ask runs one query outside of any transaction and gives row the values.
func (w *wire) ask(limit time.Duration, p *plan, row func(values [][]byte)) error {
	w.queueStep(p, &p.steps[0])
	if err := w.send(limit); err != nil {
		return err
	}
	r := w.receive(row)
	return r.failure()
}

func parseTag(tag []byte) endTag {
	switch string(tag) {
	case "COMMIT":
		return tagCommit
	case "ROLLBACK":
		return tagRollback
	}
	return tagOther
}

// tagRows is the number at the end of a command tag, -1 if there is none.
func tagRows(tag []byte) int64 {
	at := bytes.LastIndexByte(tag, ' ') + 1
	if at == 0 || at == len(tag) {
		return -1
	}
	n := int64(0)
	for _, c := range tag[at:] {
		if c < '0' || c > '9' {
			return -1
		}
		n = n*10 + int64(c-'0')
	}
	return n
}

var errValue = errors.New("the server sent a value of another kind than was asked for")

func int8Value(values [][]byte) (int64, error) {
	if len(values) != 1 || len(values[0]) != 8 {
		return 0, errValue
	}
	return int64(binary.BigEndian.Uint64(values[0])), nil
}
