package history

import "time"

// Outcome is what the client knows of a transaction.
type Outcome uint8

const (
	// Unknown: sent, no answer. It may have been applied or not. The zero value, and
	// the outcome of an invocation whose completion was never recorded.
	Unknown Outcome = iota
	// OK: the server acknowledged the commit.
	OK
	// Fail: certainly not applied.
	Fail
)

func (o Outcome) String() string {
	switch o {
	case OK:
		return "ok"
	case Fail:
		return "fail"
	}
	return "unknown"
}

// EffectKind is one kind of change that a transaction makes beside its marker,
// the ledger row (session, n, LedgerValue), which every transaction inserts.
type EffectKind uint8

const (
	// EventInsert inserts Value rows (session, n, seq 0..Value-1) into event, a table without any key.
	EventInsert EffectKind = iota + 1
	// RegisterInsert inserts register Key with Value, and the pad that Pad(Key, n) gives.
	RegisterInsert
	// RegisterUpdate sets register Key to Value; its pad stays (a toasted, unchanged column).
	RegisterUpdate
	// RegisterDelete deletes register Key.
	RegisterDelete
	// RegisterRekey changes the primary key Key to Key2; value and pad stay as they are.
	RegisterRekey
	// CounterAdd adds Value to counter Key.
	CounterAdd
	// Transfer moves Value from account Key to account Key2.
	Transfer
	// BulkInsert inserts Value rows (session, n, seq 0..Value-1) into bulk.
	BulkInsert
	// BulkDelete deletes the bulk rows that the session's transaction number Key inserted.
	BulkDelete
	// ConflictPut sets conflict Key, which sessions of every node write, to Value, whether the node
	// that it is sent to has a row there or not; and inserts a version row that says what it overwrote.
	ConflictPut
)

// Effect is one change. Unused fields are 0.
type Effect struct {
	Kind  EffectKind
	Key   int64
	Key2  int64
	Value int64
}

// Every register that a RegisterInsert, RegisterUpdate or RegisterRekey writes
// also gets session and n of the transaction that wrote it last. So does every
// conflict, with those of the write that it overwrote (see ConflictKeys).

// Header opens a history file.
type Header struct {
	Session  int    // unique in the run
	Node     string // where it writes
	Workload string
	Seed     uint64 // of the round's data: LedgerValue and Pad depend on it
}

// Op is one transaction with what became of it. Numbers of a session rise by one, from 1.
type Op struct {
	N           int64
	InvokedAt   time.Time
	CompletedAt time.Time // zero if the outcome was never recorded
	Outcome     Outcome
	SQLState    string // of a failure or unknown outcome, where the server gave one
	Effects     []Effect
}

// LedgerValue is the value column of ledger row (session, n): a function of the
// seed, so that a value nobody wrote is seen.
func LedgerValue(seed uint64, session int, n int64) int64 {
	x := seed ^ uint64(session)<<48 ^ uint64(n)
	x += 0x9e3779b97f4a7c15 // splitmix64, Steele et al. 2014
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return int64(x ^ x>>31)
}
