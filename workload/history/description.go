package history

// Workload is what a checker must know of the workload to compute every table
// from the histories: who writes where, and what the tables held at first.
// It is part of run.json.
type Workload struct {
	Seed     uint64    `json:"seed"`
	Sessions []Session `json:"sessions"`
	Pools    []Pool    `json:"pools"`
	// Conflict is set if some sessions write the keys of table conflict.
	Conflict *ConflictKeys `json:"conflict,omitempty"`
	// SharedCounters are those that the sessions of all nodes share: none where the engine lets the later of two increments win.
	SharedCounters Counters `json:"shared_counters,omitzero"`
}

// Session is one serial client. A session never overlaps with itself: before it
// goes on after a broken connection it makes sure that the old backend is gone,
// so its transactions commit in the order of their numbers.
type Session struct {
	ID       int    `json:"id"`   // 1-based, unique in a run
	Node     string `json:"node"` // the node it writes to
	Workload string `json:"workload"`
}

// Counters are the counters with keys from First to First+Count-1. Every node holds them from the start, each 0.
type Counters struct {
	First int64 `json:"first"`
	Count int   `json:"count"`
}

// Pool is the counters and accounts that the sessions of one node share.
// Counter keys and account ids run from First to First+Count-1. Every node holds
// every pool's rows from the start.
type Pool struct {
	Node           string `json:"node"`
	FirstCounter   int64  `json:"first_counter"`
	Counters       int    `json:"counters"`
	FirstAccount   int64  `json:"first_account"`
	Accounts       int    `json:"accounts"`
	InitialBalance int64  `json:"initial_balance"` // of every account; counters start at 0
}

// ConflictKeys says what table conflict holds at first: a row for each key from 1 to Hot, as if write
// InitialWrite of session 0 had made it, with value 0. Other keys begin without a row. In tables
// conflict and version, session 0 with n 0 stands for "there was no row".
type ConflictKeys struct {
	Hot int64 `json:"hot"`
}

// InitialWrite is the n of the writes, of session 0, that stand for what was there at first.
const InitialWrite = 1
