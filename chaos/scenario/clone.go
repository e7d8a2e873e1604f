package scenario

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/spockchaos/spockchaos/chaos/retained"
	"github.com/spockchaos/spockchaos/checker/rundir"
	"github.com/spockchaos/spockchaos/topology/engine"
)

// cloneName is the copy of a recovery slot that the scenario reads. It is temporary, so it goes with its session.
const cloneName = "spockchaos_test_recovery"

// decoded is a transaction as a copy of the recovery slot shows it.
type decoded struct {
	commit  position // in the WAL that was read
	origin  string   // replication origin, "" for the node's own
	lsn     position // of the commit in the origin's WAL
	marks   []int    // rows inserted into scenario.mark
	rows    int      // changes of the scenario's tables; a truncate counts as one
	beats   int      // changes of spock.recovery_heartbeat
	changes int      // of anything else
}

// held is what a node's recovery slot still holds of the failed node.
type held struct {
	slot    position // of the recovery slot, in this node's WAL
	had     []decoded
	lacking []decoded // beyond the progress that was asked for
}

// readClone copies the connected node's recovery slot and reads all transactions of an origin from the copy, up to
// where the WAL is flushed now. progress, in the origin's WAL, divides them.
func readClone(ctx context.Context, c *pgx.Conn, origin string, progress position) (ret held, err error) {
	var now decoded
	ret.slot, err = retained.Read(ctx, c, cloneName, retained.Reading{
		Change: func(kind byte, table string, row *retained.Fields) error { return now.add(kind, table, row) },
		Done: func(t retained.Transaction) error {
			one := now
			one.commit, one.origin, one.lsn = t.Commit, t.Origin, t.LSN
			now = decoded{}
			switch {
			case one.origin != origin:
			case one.lsn > progress:
				ret.lacking = append(ret.lacking, one)
			default:
				ret.had = append(ret.had, one)
			}
			return nil
		},
	})
	return ret, err
}

// add counts a change.
func (d *decoded) add(kind byte, table string, row *retained.Fields) error {
	switch schema, _, _ := strings.Cut(table, "."); {
	case table == "spock.recovery_heartbeat":
		d.beats++
	case schema == "scenario":
		d.rows++
	default:
		d.changes++
	}
	if table == "scenario.mark" && kind == 'I' {
		return d.mark(row)
	}
	return nil
}

// mark reads the row (node, n) of an insert.
func (d *decoded) mark(r *retained.Fields) error {
	r.Byte()   // 'N'
	r.Uint16() // how many columns
	var text [2]string
	for i := range text {
		if k := r.Byte(); k != 't' {
			return fmt.Errorf("column %d of a mark is of kind %q", i+1, k)
		}
		text[i] = string(r.Bytes(int(r.Uint32())))
	}
	n, err := strconv.Atoi(text[1])
	if err != nil {
		return fmt.Errorf("a mark without a number: %w", err)
	}
	d.marks = append(d.marks, n)
	return nil
}

// marksIn are the scenario's transactions among decoded ones, in order of their numbers, each as often as it is there.
func marksIn(all []decoded) (numbers []int) {
	for _, t := range all {
		numbers = append(numbers, t.marks...)
	}
	slices.Sort(numbers)
	return numbers
}

// span is the first and last commit in the origin's WAL.
func span(all []decoded) (first, last position) {
	for i, t := range all {
		if i == 0 || t.lsn < first {
			first = t.lsn
		}
		last = max(last, t.lsn)
	}
	return first, last
}

// minus are the numbers of a that are not in b.
func minus(a, b []int) (left []int) {
	for _, n := range a {
		if !slices.Contains(b, n) {
			left = append(left, n)
		}
	}
	return left
}

// progress is how far a node durably is with the failed node's WAL, and the origin that commits from there carry.
func (s *scene) progress(ctx context.Context, node string) (at position, origin string, err error) {
	err = s.on(ctx, node, func(c *pgx.Conn) error {
		subs, err := s.engine.Subscriptions(ctx, c)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(subs, func(sub engine.Subscription) bool { return sub.Provider == failed })
		if i < 0 {
			return fmt.Errorf("no subscription to %s", failed)
		}
		origin = cmp.Or(subs[i].NodeOrigin, subs[i].Origin)
		text, err := engine.Progress(ctx, c, subs[i])
		if err != nil {
			return fmt.Errorf("read its progress for %s: %w", failed, err)
		}
		at, err = rundir.ParseLSN(text)
		return err
	})
	return at, origin, err
}
