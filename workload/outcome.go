package workload

import (
	"errors"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/spockchaos/spockchaos/workload/history"
)

// flight is what of a transaction had been sent when it ended.
type flight uint8

const (
	// inTransaction: after BEGIN, before COMMIT. Nothing commits without COMMIT, and the
	// backend that holds the transaction is fenced before the session goes on.
	inTransaction flight = iota
	// inStatement: a single statement that commits by itself.
	inStatement
	// inCommit: COMMIT.
	inCommit
)

// classify decides what became of a transaction whose last batch is answered by r, or
// could not be sent because of sendErr. The second value is the server's SQLSTATE, if it gave one.
func classify(f flight, sendErr error, r reply) (history.Outcome, string) {
	state := ""
	if r.server != nil && len(r.server.Code) == 5 {
		state = r.server.Code
	}
	var unsent *notSentError
	switch {
	case f == inTransaction:
		return history.Fail, state
	case errors.As(sendErr, &unsent):
		// A COMMIT that was not sent leaves the transaction to the fence.
		return history.Fail, state
	case sendErr != nil:
		return history.Unknown, state
	case r.server != nil:
		if rolledBack(r.server) {
			return history.Fail, state
		}
		return history.Unknown, state
	case f == inCommit && r.tag == tagCommit && r.done > 0:
		// The server says COMMIT after it has committed.
		return history.OK, ""
	case f == inCommit && r.tag == tagRollback:
		return history.Fail, ""
	case f == inStatement && r.lost == nil && r.done > 0:
		// In the extended protocol a statement's own completion comes before the
		// commit; ReadyForQuery comes after it.
		return history.OK, ""
	}
	return history.Unknown, ""
}

// rolledBack says whether a server's error, in answer to a COMMIT or to a statement
// that commits by itself, means that the transaction is certainly rolled back.
//
// An ERROR does: after the commit record is written PostgreSQL cannot raise one (it
// would have to abort a committed transaction, and panics instead). FATAL and PANIC
// end the backend at a moment that the message does not tell, maybe while it
// waited with its commit record written. The same goes for the classes below, which
// also come from what stands between client and server.
func rolledBack(e *pgconn.PgError) bool {
	severity := e.SeverityUnlocalized
	if severity == "" {
		severity = e.Severity
	}
	if severity != "ERROR" || len(e.Code) != 5 {
		return false
	}
	switch e.Code {
	case "57P01", "57P02", "57P03", // shutdown, crash, cannot connect now
		"40003": // statement completion unknown
		return false
	}
	switch e.Code[:2] {
	case "08", // connection exception
		"XX": // internal error
		return false
	}
	return true
}
