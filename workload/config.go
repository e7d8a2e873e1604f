package workload

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spockchaos/spockchaos/workload/history"
)

// Names of the workloads.
const (
	Ledger   = "ledger"
	Register = "register"
	Counter  = "counter"
	Bank     = "bank"
	// Conflicts is written by sessions of every node. It runs only if it is named.
	Conflicts = "conflicts"
)

// Description is one workload's line in a list.
type Description struct {
	Name, Text string
	OptIn      bool // not among those that run when none is named
}

// Descriptions lists the workloads that there are.
func Descriptions() []Description {
	return []Description{
		{Name: Ledger, Text: "unique rows per session, numbered; rows of a table without any key"},
		{Name: Register, Text: "inserts, updates, deletes and key changes of wide rows, each owned by one session"},
		{Name: Counter, Text: "increments of counters that the sessions of a node share; with delta-apply columns (spock) also of all nodes"},
		{Name: Bank, Text: "transfers between 2 to 6 accounts of a node, with a constant total"},
		{Name: Conflicts, Text: "writes of the same keys on all nodes, where the last update wins; only if it is named", OptIn: true},
	}
}

// Config is how much is written and what.
type Config struct {
	Workloads []string // names; none means all but those that are opt-in
	Sessions  int      // over all nodes; 0 means 4 for each node
	Rate      float64  // operations a second over all sessions; 0 is no cap
	// SharedCounters has counter also increment counters that the sessions of all nodes share. For engines that apply DeltaColumns by
	// differences; with others increments are lost.
	SharedCounters bool

	// LargeRows is how many rows a large transaction inserts; 0 means 10,000. One session of
	// each node makes large transactions, deletes what they inserted, and makes long ones.
	LargeRows int
	// HeavyMax bounds the large and the long transactions of a session, each; 0 means 3, negative none.
	HeavyMax int

	// OpTimeout is how long a session waits for an answer before it gives a connection up; 0 means 5 s.
	OpTimeout time.Duration
	// ConnectTimeout limits one attempt to connect; 0 means 2 s.
	ConnectTimeout time.Duration
	// StopGrace is how long operations in flight may take to end once the context is done; 0 means 500 ms.
	StopGrace time.Duration

	// plainLedger leaves ledger only its single-statement inserts, which is what pgbench is compared with.
	plainLedger bool
}

const sessionsPerNode = 4

// withDefaults fills in what is zero.
func (c Config) withDefaults() Config {
	if len(c.Workloads) == 0 {
		for _, d := range Descriptions() {
			if !d.OptIn {
				c.Workloads = append(c.Workloads, d.Name)
			}
		}
	}
	setDefault(&c.LargeRows, 10_000)
	setDefault(&c.HeavyMax, 3)
	setDefault(&c.OpTimeout, 5*time.Second)
	setDefault(&c.ConnectTimeout, 2*time.Second)
	setDefault(&c.StopGrace, 500*time.Millisecond)
	return c
}

func setDefault[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

// Validate says what is wrong with c, nil if nothing is.
func (c Config) Validate() error {
	for i, name := range c.Workloads {
		if !slices.ContainsFunc(Descriptions(), func(d Description) bool { return d.Name == name }) {
			var names []string
			for _, d := range Descriptions() {
				names = append(names, d.Name)
			}
			return fmt.Errorf("no workload is called %q; there are %s", name, strings.Join(names, ", "))
		}
		if slices.Contains(c.Workloads[:i], name) {
			return fmt.Errorf("workload %q is named twice", name)
		}
	}
	switch {
	case c.Sessions < 0 || c.Sessions > 10_000:
		return fmt.Errorf("sessions must be 0 to 10000, not %d", c.Sessions)
	case !(c.Rate >= 0 && c.Rate <= 1e9):
		return fmt.Errorf("rate must be 0 (no cap) or a number of operations a second, not %v", c.Rate)
	case c.LargeRows < 0 || c.LargeRows > 10_000_000:
		return fmt.Errorf("rows of a large transaction must be 0 to 10000000, not %d", c.LargeRows)
	case c.OpTimeout < 0 || c.ConnectTimeout < 0 || c.StopGrace < 0:
		return fmt.Errorf("a time limit of the workload is negative")
	}
	return nil
}

// Sizes of a pool. Few counters, so that sessions meet on them.
const (
	poolCounters   = 32
	poolAccounts   = 64
	poolKeys       = 1_000_000 // from one pool's first key to the next's
	initialBalance = 1000
)

// Describe lays the sessions out over nodes: about two thirds on the first, the others
// evenly, at least two each. The first node has every workload; to make that so there
// are at least len(workloads) + 2·(len(nodes)−1) sessions, whatever cfg.Sessions is. Conflicts, if it
// is among the workloads, has one session or more on every node.
func Describe(seed uint64, nodes []string, cfg Config) history.Workload {
	cfg = cfg.withDefaults()
	w := history.Workload{Seed: seed}
	if len(nodes) == 0 {
		return w
	}
	total := cfg.Sessions
	if total == 0 {
		total = sessionsPerNode * len(nodes)
	}
	others := len(nodes) - 1
	each := 0
	if others > 0 {
		each = max(2, total/3/others)
	}
	first := max(len(cfg.Workloads), total-each*others)

	id := 0
	add := func(node, workload string) {
		id++
		w.Sessions = append(w.Sessions, history.Session{ID: id, Node: node, Workload: workload})
	}
	for i := range first {
		add(nodes[0], cfg.Workloads[i%len(cfg.Workloads)])
	}
	turn := 0 // goes on from node to node, so that between them they have every workload
	if slices.Contains(cfg.Workloads, Conflicts) {
		w.Conflict = &history.ConflictKeys{Hot: hotKeys}
	}
	for _, node := range nodes[1:] {
		for i := range each {
			if w.Conflict != nil && i == 0 {
				add(node, Conflicts)
				continue
			}
			add(node, cfg.Workloads[turn%len(cfg.Workloads)])
			turn++
		}
	}
	for i, node := range nodes {
		base := int64(i+1) * poolKeys
		w.Pools = append(w.Pools, history.Pool{
			Node:         node,
			FirstCounter: base, Counters: poolCounters,
			FirstAccount: base, Accounts: poolAccounts, InitialBalance: initialBalance,
		})
	}
	if cfg.SharedCounters {
		w.SharedCounters = history.Counters{First: int64(len(nodes)+1) * poolKeys, Count: poolCounters}
	}
	return w
}
