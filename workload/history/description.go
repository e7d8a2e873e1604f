package history

// Workload is what a checker must know of the workload to compute every table
// from the histories: who writes where, and what the tables held at first.
// It is part of run.json.
type Workload struct {
	Seed     uint64    `json:"seed"`
	Sessions []Session `json:"sessions"`
	Pools    []Pool    `json:"pools"`
}

// Session is one serial client. A session never overlaps with itself: before it
// goes on after a broken connection it makes sure that the old backend is gone,
// so its transactions commit in the order of their numbers.
type Session struct {
	ID       int    `json:"id"`   // 1-based, unique in a run
	Node     string `json:"node"` // the node it writes to
	Workload string `json:"workload"`
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
