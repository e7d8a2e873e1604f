package workload

import (
	"errors"
	"io"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/spockchaos/spockchaos/workload/history"
)

func TestClassify(t *testing.T) {
	server := func(severity, code string) *pgconn.PgError {
		return &pgconn.PgError{Severity: "FEHLER", SeverityUnlocalized: severity, Code: code}
	}
	unsent := &notSentError{errors.New("broken pipe")}
	half := errors.New("write: connection reset by peer")
	lost := io.ErrUnexpectedEOF
	for _, tc := range []struct {
		name  string
		f     flight
		send  error
		r     reply
		want  history.Outcome
		state string
	}{
		// Before COMMIT was sent nothing can have been committed.
		{"statement fails in a transaction", inTransaction, nil, reply{server: server("ERROR", "23505"), status: 'E'}, history.Fail, "23505"},
		{"shutdown in a transaction", inTransaction, nil, reply{server: server("FATAL", "57P01"), lost: lost}, history.Fail, "57P01"},
		{"connection lost in a transaction", inTransaction, nil, reply{lost: lost}, history.Fail, ""},
		{"half a batch sent in a transaction", inTransaction, half, reply{}, history.Fail, ""},
		{"no rows affected in a transaction", inTransaction, nil, reply{done: 3, status: 'T'}, history.Fail, ""},

		{"statement acknowledged", inStatement, nil, reply{done: 1, status: 'I'}, history.OK, ""},
		{"statement not sent", inStatement, unsent, reply{}, history.Fail, ""},
		{"statement half sent", inStatement, half, reply{}, history.Unknown, ""},
		{"statement unanswered", inStatement, nil, reply{lost: lost}, history.Unknown, ""},
		{"statement completed but the commit unanswered", inStatement, nil, reply{done: 1, lost: lost}, history.Unknown, ""},
		{"statement violates a key", inStatement, nil, reply{server: server("ERROR", "23505"), status: 'I'}, history.Fail, "23505"},
		{"error, then lost", inStatement, nil, reply{server: server("ERROR", "23505"), lost: lost}, history.Fail, "23505"},
		{"statement serialization", inStatement, nil, reply{server: server("ERROR", "40001")}, history.Fail, "40001"},
		{"statement cancelled", inStatement, nil, reply{server: server("ERROR", "57014")}, history.Fail, "57014"},
		{"read only", inStatement, nil, reply{server: server("ERROR", "25006")}, history.Fail, "25006"},
		{"disk full", inStatement, nil, reply{server: server("ERROR", "53100")}, history.Fail, "53100"},
		{"statement and shutdown", inStatement, nil, reply{server: server("FATAL", "57P01"), lost: lost}, history.Unknown, "57P01"},
		{"shutdown as an error", inStatement, nil, reply{server: server("ERROR", "57P01")}, history.Unknown, "57P01"},
		{"crash of another backend", inStatement, nil, reply{server: server("WARNING", "57P02")}, history.Unknown, "57P02"},
		{"completed, then shutdown", inStatement, nil, reply{done: 1, server: server("FATAL", "57P01"), lost: lost}, history.Unknown, "57P01"},
		{"statement starting up", inStatement, nil, reply{server: server("FATAL", "57P03")}, history.Unknown, "57P03"},
		{"panic", inStatement, nil, reply{server: server("PANIC", "58030")}, history.Unknown, "58030"},
		{"connection exception", inStatement, nil, reply{server: server("ERROR", "08006")}, history.Unknown, "08006"},
		{"internal error", inStatement, nil, reply{server: server("ERROR", "XX000")}, history.Unknown, "XX000"},
		{"statement completion unknown", inStatement, nil, reply{server: server("ERROR", "40003")}, history.Unknown, "40003"},
		{"fatal of any class", inStatement, nil, reply{server: server("FATAL", "25P03")}, history.Unknown, "25P03"},
		{"garbled code", inStatement, nil, reply{server: server("ERROR", "23")}, history.Unknown, ""},
		{"an old server gives no unlocalized severity", inStatement, nil,
			reply{server: &pgconn.PgError{Severity: "ERROR", Code: "23505"}}, history.Fail, "23505"},

		{"commit acknowledged", inCommit, nil, reply{done: 1, tag: tagCommit, status: 'I'}, history.OK, ""},
		{"commit acknowledged, then lost", inCommit, nil, reply{done: 1, tag: tagCommit, lost: lost}, history.OK, ""},
		{"commit of a failed transaction", inCommit, nil, reply{done: 1, tag: tagRollback, status: 'I'}, history.Fail, ""},
		{"commit not sent", inCommit, unsent, reply{}, history.Fail, ""},
		{"commit half sent", inCommit, half, reply{}, history.Unknown, ""},
		{"commit unanswered", inCommit, nil, reply{lost: lost}, history.Unknown, ""},
		{"commit fails to serialize", inCommit, nil, reply{server: server("ERROR", "40001"), status: 'I'}, history.Fail, "40001"},
		{"commit in a deadlock", inCommit, nil, reply{server: server("ERROR", "40P01"), status: 'I'}, history.Fail, "40P01"},
		{"deferred constraint", inCommit, nil, reply{server: server("ERROR", "23503"), status: 'I'}, history.Fail, "23503"},
		{"commit and shutdown", inCommit, nil, reply{server: server("FATAL", "57P01"), lost: lost}, history.Unknown, "57P01"},
		{"commit on a connection that was ended", inCommit, nil, reply{server: server("FATAL", "57P05"), lost: lost}, history.Unknown, "57P05"},
		{"commit answered by nothing that makes sense", inCommit, nil, reply{status: 'I'}, history.Unknown, ""},
	} {
		got, state := classify(tc.f, tc.send, tc.r)
		if got != tc.want || state != tc.state {
			t.Errorf("%s: %v %q, want %v %q", tc.name, got, state, tc.want, tc.state)
		}
	}
}

func TestTagRows(t *testing.T) {
	for tag, want := range map[string]int64{
		"INSERT 0 1": 1, "INSERT 0 10000": 10000, "UPDATE 0": 0, "DELETE 12": 12,
		"BEGIN": -1, "COMMIT": -1, "": -1, "UPDATE ": -1, "UPDATE x1": -1,
	} {
		if got := tagRows([]byte(tag)); got != want {
			t.Errorf("%q: %d, want %d", tag, got, want)
		}
	}
}
