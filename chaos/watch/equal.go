package watch

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/spockchaos/spockchaos/topology"
)

const (
	// equalPause lies between two looks of WaitEqual.
	equalPause = 100 * time.Millisecond
	// noteSource bounds how much of an error goes into a note.
	noteSource = 200
)

// standing is what WaitEqual knows of one node.
type standing struct {
	direct   direct
	progress Progress
	digests  digests
	err      error
}

// WaitEqual waits until all nodes hold the same data (but for tables that are settled then, whether they are
// the same or not), straight and not through links, and returns true then. After limit it returns false, and the note says
// what still differs: the tables with each node's row count, or the node that does
// not answer. Nodes are compared by counts first and, once these agree, by digests.
// The error is that of ctx, if that ended the wait.
//
// Nodes that nobody writes to any more are meant: with writes going on, nodes
// that are level never look equal, because they are not read at the same instant.
func WaitEqual(ctx context.Context, nodes []topology.Node, limit time.Duration) (equal bool, note string, err error) {
	all := make([]*standing, len(nodes))
	for i, n := range nodes {
		all[i] = &standing{direct: direct{node: n, application: "spockchaos quiesce"}}
	}
	defer func() {
		for _, s := range all {
			s.direct.close()
		}
	}()
	waiting, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		now, look := compare(waiting, all)
		if now {
			return true, "", nil
		}
		if waiting.Err() == nil {
			note = look // one that the limit cut off says nothing
		}
		select {
		case <-waiting.Done():
		case <-time.After(equalPause):
			continue
		}
		if ctx.Err() != nil {
			return false, note, fmt.Errorf("wait until nodes are equal: %w", ctx.Err())
		}
		if note == "" {
			note = look
		}
		return false, note, nil
	}
}

// compare looks at all nodes once. The note says what differs.
func compare(ctx context.Context, all []*standing) (equal bool, note string) {
	readAll(ctx, all, func(ctx context.Context, c *pgx.Conn, s *standing) (err error) {
		s.progress, err = ReadProgress(ctx, c)
		return err
	})
	if note := silent(all); note != "" {
		return false, note
	}
	if note := differing(all, func(s *standing, table int) any { return s.progress[table] }); note != "" {
		return false, note
	}
	readAll(ctx, all, func(ctx context.Context, c *pgx.Conn, s *standing) (err error) {
		s.digests, err = readDigests(ctx, c)
		return err
	})
	if note := silent(all); note != "" {
		return false, note
	}
	note = differing(all, func(s *standing, table int) any { return s.digests[table] })
	return note == "", note
}

// readAll reads every node at once.
func readAll(ctx context.Context, all []*standing, read func(context.Context, *pgx.Conn, *standing) error) {
	var wg sync.WaitGroup
	for _, s := range all {
		wg.Go(func() {
			s.err = s.direct.use(ctx, 0, func(ctx context.Context, c *pgx.Conn) error { return read(ctx, c, s) })
		})
	}
	wg.Wait()
}

// silent names the nodes that could not be read, "" if all were.
func silent(all []*standing) string {
	var parts []string
	for _, s := range all {
		if s.err != nil {
			text := s.err.Error()
			if len(text) > noteSource {
				text = text[:noteSource] + "…"
			}
			parts = append(parts, fmt.Sprintf("%s cannot be read: %s", s.direct.node.Name(), text))
		}
	}
	return strings.Join(parts, "; ")
}

// differing lists the tables in which what is not the same on all nodes: "ledger: n2 1200
// rows, n3 1187 rows", "" if there is none.
func differing(all []*standing, what func(s *standing, table int) any) string {
	var parts []string
	for i, t := range tables() {
		if t.settled {
			continue
		}
		same, sameRows := true, true
		counts := make([]string, len(all))
		for j, s := range all {
			same = same && what(s, i) == what(all[0], i)
			sameRows = sameRows && s.progress[i].Rows == all[0].progress[i].Rows
			counts[j] = fmt.Sprintf("%s %d rows", s.direct.node.Name(), s.progress[i].Rows)
		}
		if same {
			continue
		}
		text := t.name + ": " + strings.Join(counts, ", ")
		if sameRows {
			text += ", with different contents"
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, "; ")
}
