package rundir

import "time"

// PlannedFault is one line of the schedule, a pure function of seed and config.
// Times are offsets from the start of the chaos phase.
type PlannedFault struct {
	ID         int            `json:"id"`
	Name       string         `json:"name"`   // as `spockchaos faults` lists it
	Target     string         `json:"target"` // "n1", "n2>n1" (the link by which subscriber n2 dials provider n1), "client>n1", "n1<>n3"
	Parameters map[string]any `json:"parameters"`
	At         time.Duration  `json:"at_ns"`
	For        time.Duration  `json:"for_ns"` // 0: until the heal phase
}

// Fault is a fault that was injected, with its proof.
type Fault struct {
	ID         int            `json:"id"`
	Name       string         `json:"name"`
	Target     string         `json:"target"`
	Parameters map[string]any `json:"parameters"`
	PlannedAt  time.Time      `json:"planned_at"`
	StartedAt  time.Time      `json:"started_at"`
	EndedAt    time.Time      `json:"ended_at,omitzero"`
	Effect     bool           `json:"effect"`          // it provably took effect
	Proof      string         `json:"proof"`           // what was measured that shows the effect
	EndProof   string         `json:"end_proof"`       // what was measured that shows its end
	Error      string         `json:"error,omitempty"` // why it could not be injected or healed
}

// NodeEvent is a change of a node's life that this program made.
type NodeEvent struct {
	At   time.Time `json:"at"`
	Node string    `json:"node"`
	Kind EventKind `json:"kind"`
}

// EventKind is what happened to a node.
type EventKind string

const (
	EventStart     EventKind = "start"     // accepts connections again
	EventStop      EventKind = "stop"      // clean shutdown asked for (fast)
	EventStopped   EventKind = "stopped"   // clean shutdown finished
	EventImmediate EventKind = "immediate" // immediate shutdown: no checkpoint
	EventKill      EventKind = "kill"      // SIGKILL to every process of the node
	EventPause     EventKind = "pause"
	EventResume    EventKind = "resume"
	EventLose      EventKind = "lose" // killed and its data directory removed
)

// Sample is what the watcher read on one node, straight (not through a link).
// The read began at At and was over at End: a value was true somewhere between.
// The slot is read first, then the origins, then the WAL positions, then the checkpoint.
type Sample struct {
	At    time.Time `json:"at"`
	End   time.Time `json:"end"`
	Node  string    `json:"node"`
	Error string    `json:"error,omitempty"` // the node did not answer; nothing below is set

	Epoch         time.Time      `json:"epoch,omitzero"` // since when the server runs, by its own clock: what its postmaster started, or, after the crash of a backend, started anew
	InsertLSN     LSN            `json:"insert_lsn"`
	FlushLSN      LSN            `json:"flush_lsn"`
	CheckpointLSN LSN            `json:"checkpoint_lsn"` // last completed checkpoint's record
	RedoLSN       LSN            `json:"redo_lsn"`       // and where it began
	WALBytes      int64          `json:"wal_bytes"`      // size of pg_wal
	Slot          *Slot          `json:"slot"`           // nil: the recovery slot does not exist
	Origins       []Origin       `json:"origins"`
	Subscriptions []Subscription `json:"subscriptions"`
	Clones        []string       `json:"clones,omitempty"` // rescue clone slots present
	// OwnRescues are the rescues of the server's own that were at work.
	OwnRescues []OwnRescue `json:"own_rescues,omitempty"`
}

// OwnRescue is a temporary subscription by which a server rescues itself.
type OwnRescue struct {
	Name     string `json:"name"`
	Provider string `json:"provider"`
	Stop     LSN    `json:"stop_lsn"` // up to where in the provider's WAL; 0 for none
}

// Slot is a recovery slot as pg_replication_slots shows it. Restart or Confirmed 0 is NULL.
type Slot struct {
	Name      string `json:"name"`
	Restart   LSN    `json:"restart_lsn"`
	Confirmed LSN    `json:"confirmed_flush_lsn"`
	WALStatus string `json:"wal_status"`
	Active    bool   `json:"active"`
	NoPlugin  bool   `json:"no_plugin,omitempty"` // it has no output plugin: nothing can be decoded from it
	Retained  int64  `json:"retained_bytes"`      // flush_lsn - restart_lsn
}

// Origin is this node's progress for one peer (pg_replication_origin_status).
type Origin struct {
	Node   string `json:"node"` // the provider
	Remote LSN    `json:"remote_lsn"`
	Local  LSN    `json:"local_lsn"` // 0 after a restart until the next apply
}

// Subscription is this node's subscription to one peer.
type Subscription struct {
	Provider string `json:"provider"`
	Status   string `json:"status"` // "replicating", "disabled", "down", "initializing"
}

// Observation is one snapshot (REPEATABLE READ) that an observer read on a node.
type Observation struct {
	At    time.Time `json:"at"`
	End   time.Time `json:"end"`
	Node  string    `json:"node"`
	Error string    `json:"error,omitempty"`
	// Durable: after the snapshot was taken the observer had the node flush its
	// WAL, so what it saw is on disk there: no crash excuses its absence.
	Durable  bool              `json:"durable"`
	Sessions []ObservedSession `json:"sessions"`
	Banks    []ObservedBank    `json:"banks"`
}

// ObservedSession is what the snapshot showed of one session's ledger rows with
// n > After (After is where the observer had already looked; 0 at first).
type ObservedSession struct {
	Session int   `json:"s"`
	After   int64 `json:"a"`
	Max     int64 `json:"m"` // highest n seen, = After if none
	Count   int64 `json:"c"` // rows with n in (After, Max]
	Sum     int64 `json:"u"` // sum of their n
}

// ObservedBank is one pool's accounts in the snapshot.
type ObservedBank struct {
	Node     string `json:"node"`
	Total    int64  `json:"total"`
	Accounts int    `json:"accounts"`
}

// Rescue is one rescue of one target, with the call again that must change nothing.
type Rescue struct {
	Strategy     string        `json:"strategy"` // "sql", "native", "exec:COMMAND"
	Failed       string        `json:"failed"`
	Source       string        `json:"source"`
	Target       string        `json:"target"`
	Coordinator  string        `json:"coordinator"`
	StartedAt    time.Time     `json:"started_at"`
	EndedAt      time.Time     `json:"ended_at"`
	OK           bool          `json:"ok"`
	Error        string        `json:"error,omitempty"`
	Limit        time.Duration `json:"limit_ns"`
	Transactions int64         `json:"transactions"`
	Rows         int64         `json:"rows"`
	ResumedTimes int           `json:"resumed_times"`
	ExitStatus   *int          `json:"exit_status,omitempty"` // of a runbook's last attempt; -1: ended by a signal, or not begun
	// Durable progress for the failed node, read before and after.
	SourceBefore LSN `json:"source_before"`
	TargetBefore LSN `json:"target_before"`
	SourceAfter  LSN `json:"source_after"`
	TargetAfter  LSN `json:"target_after"`
	// Missing is how many ledger rows of the failed node's sessions the source had
	// and the target lacked before the rescue, and after it.
	MissingBefore int64 `json:"missing_before"`
	MissingAfter  int64 `json:"missing_after"`
	// SourcePosition is the recovery slot's confirmed_flush_lsn on the source before.
	SourcePosition LSN      `json:"source_position"`
	Log            []string `json:"log,omitempty"` // notices of the procedure, each with the time since StartedAt
	Again          *Again   `json:"again,omitempty"`
}

// Again is the second call of the same rescue, after the first succeeded and all was quiet.
type Again struct {
	OK           bool   `json:"ok"`
	Error        string `json:"error,omitempty"`
	DigestBefore string `json:"digest_before"` // of every table on the target
	DigestAfter  string `json:"digest_after"`
}

// Explanation is a log entry of an engine that says what a node did not apply, or what it overwrote: a whole transaction of the workload (Session, N), or
// what some transaction had made of one row (Row).
type Explanation struct {
	Node    string      `json:"node"` // where it is missing
	Session int         `json:"session,omitempty"`
	N       int64       `json:"n,omitempty"`
	Row     *RowVersion `json:"row,omitempty"`
	Source  string      `json:"source"` // "spock.exception_log", "spock.resolutions", "server log"
	Entry   string      `json:"entry"`
}

// RowVersion is what a transaction made of a row.
type RowVersion struct {
	Table       string           `json:"table"`
	Columns     map[string]int64 `json:"columns"`           // the whole numbers that are known; after a delete, of the row that it deletes
	Deleted     bool             `json:"deleted,omitempty"` // it removed the row
	Origin      string           `json:"origin"`            // the node that it was written to
	CommittedAt time.Time        `json:"committed_at"`      // there
}

// Key is the row's primary key, in the tables where a row has values that change.
func (v *RowVersion) Key() (key int64, ok bool) {
	switch v.Table {
	case TableRegister, TableCounter, TableConflict:
		key, ok = v.Columns["key"]
	case TableAccount:
		key, ok = v.Columns["id"]
	}
	return key, ok
}
