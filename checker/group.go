package checker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spockchaos/spockchaos/checker/rundir"
)

// group is a set of survivors whose final snapshots are the same, byte for byte.
// They are compared with the history once. Normally there is one group.
type group struct {
	nodes                                           []string
	ledger, event, bulk, register, counter, account *cursor
	conflict, version, versionByKey                 *cursor // nil: nobody wrote them
}

// groupSurvivors compares the final snapshots of the round's survivors.
func groupSurvivors(ctx context.Context, in *input) ([][]string, error) {
	var groups [][]string
next:
	for _, node := range in.round.Survivors {
		for i, g := range groups {
			same := true
			for _, table := range in.tables() {
				if err := ctx.Err(); err != nil {
					return nil, fmt.Errorf("comparing final snapshots: %w", err)
				}
				var err error
				same, err = sameFile(rundir.FinalTable(in.dir, g[0], table), rundir.FinalTable(in.dir, node, table))
				if err != nil {
					return nil, err
				}
				if !same {
					break
				}
			}
			if same {
				groups[i] = append(groups[i], node)
				continue next
			}
		}
		groups = append(groups, []string{node})
	}
	return groups, nil
}

// sameFile says whether two files have the same bytes.
func sameFile(a, b string) (bool, error) {
	x, err := os.Open(a)
	if err != nil {
		return false, fmt.Errorf("reading final snapshot: %w", err)
	}
	defer x.Close() // read only
	y, err := os.Open(b)
	if err != nil {
		return false, fmt.Errorf("reading final snapshot: %w", err)
	}
	defer y.Close()
	bx, by := make([]byte, 64<<10), make([]byte, 64<<10)
	for {
		n, errX := io.ReadFull(x, bx)
		m, errY := io.ReadFull(y, by)
		if !bytes.Equal(bx[:n], by[:m]) {
			return false, nil
		}
		endX, endY := isEnd(errX), isEnd(errY)
		switch {
		case errX != nil && !endX:
			return false, fmt.Errorf("reading %s: %w", a, errX)
		case errY != nil && !endY:
			return false, fmt.Errorf("reading %s: %w", b, errY)
		case endX || endY:
			return endX == endY, nil
		}
	}
}

func isEnd(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }

// openGroup opens the row files of a group's first node.
func openGroup(in *input, nodes []string) (*group, error) {
	g := &group{nodes: nodes}
	cursors := map[string]**cursor{rundir.TableLedger: &g.ledger, rundir.TableEvent: &g.event, rundir.TableBulk: &g.bulk,
		rundir.TableRegister: &g.register, rundir.TableCounter: &g.counter, rundir.TableAccount: &g.account,
		rundir.TableConflict: &g.conflict, rundir.TableVersion: &g.version, rundir.TableVersionByKey: &g.versionByKey}
	for _, table := range in.tables() {
		var err error
		c := cursors[table]
		if *c, err = openCursor(rundir.FinalTable(in.dir, nodes[0], table), table); err != nil {
			return nil, errors.Join(err, g.close())
		}
	}
	return g, nil
}

func (g *group) cursors() []*cursor {
	return []*cursor{g.ledger, g.event, g.bulk, g.register, g.counter, g.account, g.conflict, g.version, g.versionByKey}
}

func (g *group) close() error {
	var errs []error
	for _, c := range g.cursors() {
		if c != nil {
			errs = append(errs, c.r.Close())
		}
	}
	return errors.Join(errs...)
}

// err is the first error that a cursor met.
func (g *group) err() error {
	for _, c := range g.cursors() {
		if c != nil && c.err != nil {
			return c.err
		}
	}
	return nil
}

// cursor stands on a row of a row file. An error ends it like the end of the file;
// it is asked for once, when all is read.
type cursor struct {
	r   *rundir.RowReader
	row []int64 // nil at the end
	err error
}

func openCursor(path, table string) (*cursor, error) {
	r, err := rundir.OpenRows(path, table)
	if err != nil {
		return nil, err
	}
	c := &cursor{r: r}
	c.next()
	return c, nil
}

func (c *cursor) next() {
	row, err := c.r.Next()
	if err != nil {
		c.row = nil
		if !errors.Is(err, io.EOF) {
			c.err = err
		}
		return
	}
	c.row = row
}
