package pglogical

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/spockchaos/spockchaos/topology/engine"
)

var (
	_ engine.ConflictLogger = Engine{}
	_ engine.Decider        = Engine{}
)

// ServerLog is the Source of conflicts that were found in a server log.
const ServerLog = "server log"

// Deciding names settings.
func (e Engine) Deciding() []string {
	names := []string{e.dialect.Name + ".conflict_resolution", e.dialect.Name + ".conflict_log_level"}
	return append(names, e.dialect.Deciding...)
}

// Origins are, by number, the subscriptions' replication origins, or the nodes where the extension writes their ids.
func (e Engine) Origins(ctx context.Context, c *pgx.Conn) (engine.Origins, error) {
	others := `SELECT o.roident::bigint, n.node_name::text FROM pg_replication_origin o
		JOIN {schema}.subscription s ON s.sub_slot_name::text = o.roname JOIN {schema}.node n ON n.node_id = s.sub_origin`
	if e.dialect.NodeOrigin != "" {
		others = `SELECT n.node_id::bigint, n.node_name::text FROM {schema}.node n`
	}
	rows, err := c.Query(ctx, e.sql(`SELECT 0::bigint, n.node_name::text FROM {schema}.local_node JOIN {schema}.node n USING (node_id)
		UNION ALL `+others))
	if err != nil {
		return nil, fmt.Errorf("listing the nodes by their origins: %w", err)
	}
	origins := engine.Origins{}
	var (
		number int64
		name   string
	)
	if _, err := pgx.ForEachRow(rows, []any{&number, &name}, func() error { origins[number] = name; return nil }); err != nil {
		return nil, fmt.Errorf("listing the nodes by their origins: %w", err)
	}
	return origins, nil
}

// LoggedConflicts reads what pglogical_report_conflict, or the function of the same lineage, writes: one message of severity LOG that names the table
// and the resolution, with a DETAIL that shows the rows. commit_lsn lacks its upper half there and is not used. An entry is
// taken whole or not at all.
func (e Engine) LoggedConflicts(log io.Reader, origins engine.Origins, each func(engine.Conflict) error) (unread int, err error) {
	err = eachEntry(log, func(entry logEntry) error {
		what, is := strings.CutPrefix(entry.message, "CONFLICT: remote ")
		if entry.severity != "LOG" || !is || strings.HasPrefix(what, "delete_") { // Spock 6 does not say which row a delete was about
			return nil
		}
		c, ok := parseConflict(entry, origins)
		if !ok {
			unread++
			return nil
		}
		return each(c)
	})
	return unread, err
}

var (
	conflictMessage = regexp.MustCompile(`^CONFLICT: remote ([A-Za-z_ ]+) on relation (` + identifier + `\.` + identifier + `) ` +
		`(?:\(local index ` + indexName + `\)|replica identity index ` + indexName + ` \([a-z ]+\))\. Resolution: (apply_remote|keep_local|skip)\.$`)
	remoteVersion = regexp.MustCompile(`(?s)^remote tuple \{(.*)\}\*? in xact origin=([0-9]+),timestamp=([^,{}]+),commit_lsn=[0-9A-F]+/[0-9A-F]+$`)
	localVersion  = regexp.MustCompile(`^existing local tuple \{`)
	betweenRows   = regexp.MustCompile(`\} xid=[0-9]+,origin=(-?[0-9]+|local|unknown),timestamp=([^,;{}]*); (remote tuple \{)`)
)

const (
	identifier = `(?:[a-z_][a-z0-9_$]*|"(?:[^"]|"")+")`
	indexName  = `(?:[^()]+|\(unknown\))`
)

// operations by their names in messages, of pglogical 2 and Spock 5 and of Spock 6.
var operations = map[string]engine.Operation{
	"INSERT": engine.Insert, "INSERT EXISTS": engine.Insert, "insert_exists": engine.Insert,
	"UPDATE": engine.Update, "update_exists": engine.Update, "update_origin_differs": engine.Update, "update_missing": engine.Update,
	"DELETE": engine.Delete,
}

// parseConflict makes a conflict of an entry of the log; it says no if anything of it is not as expected.
func parseConflict(e logEntry, origins engine.Origins) (c engine.Conflict, ok bool) {
	m := conflictMessage.FindStringSubmatch(e.message)
	if e.broken || m == nil || operations[m[1]] == "" {
		return c, false
	}
	c = engine.Conflict{Source: ServerLog, LoggedAt: e.at, Table: m[2], Operation: operations[m[1]], Resolution: engine.Resolution(m[3]),
		Text: e.message + " DETAIL: " + e.detail}
	detail := e.detail
	if localVersion.MatchString(detail) {
		between := betweenRows.FindAllStringSubmatchIndex(detail, -1)
		if len(between) != 1 {
			return c, false // a text looks like what stands between the rows
		}
		at := between[0]
		local, err := version(detail[len("existing local tuple {"):at[0]], detail[at[2]:at[3]], detail[at[4]:at[5]], origins)
		if err != nil {
			return c, false
		}
		c.Local, detail = &local, detail[at[6]:]
	}
	if m = remoteVersion.FindStringSubmatch(detail); m == nil {
		return c, false
	}
	var err error
	c.Remote, err = version(m[1], m[2], m[3], origins)
	return c, err == nil && !c.Remote.CommittedAt.IsZero()
}

// version reads a row with its origin (a number, "local", or unknown) and its commit timestamp ("" if that is not known).
func version(tuple, origin, timestamp string, origins engine.Origins) (v engine.Version, err error) {
	if v.Columns, err = integers(tuple); err != nil {
		return v, err
	}
	switch origin {
	case "local":
		v.Origin = origins[0]
	case "unknown":
	default:
		number, err := strconv.ParseInt(origin, 10, 64)
		if err != nil {
			return v, err
		}
		v.Origin = origins[number] // -1 is nobody
	}
	if timestamp == "" {
		return v, nil
	}
	for _, layout := range []string{"2006-01-02 15:04:05.999999-07", "2006-01-02 15:04:05.999999-07:00"} {
		if v.CommittedAt, err = time.Parse(layout, timestamp); err == nil {
			v.CommittedAt = v.CommittedAt.UTC()
			return v, nil
		}
	}
	return v, err
}

// columnStart is what stands before each value of a row: "name[type]:".
var columnStart = regexp.MustCompile(`(?:^| )([A-Za-z_][A-Za-z0-9_]*)\[([a-z0-9_]+)\]:`)

var errNoRow = errors.New("not a row")

// integers are the columns of a row, "key[int8]:5 note[text]:x", that are whole numbers and not null. A text may contain anything, also what looks like
// another column: a row in which a name occurs twice is refused, since it is not known which of the two is the column, and
// what looks like a column that the table does not have is of no use to anybody.
func integers(tuple string) (map[string]int64, error) {
	starts := columnStart.FindAllStringSubmatchIndex(tuple, -1)
	if len(starts) == 0 || starts[0][0] != 0 {
		return nil, errNoRow
	}
	columns, seen := map[string]int64{}, map[string]bool{}
	for i, at := range starts {
		name, kind := tuple[at[2]:at[3]], tuple[at[4]:at[5]]
		end := len(tuple)
		if i+1 < len(starts) {
			end = starts[i+1][0]
		}
		if seen[name] {
			return nil, errNoRow
		}
		seen[name] = true
		value := tuple[at[1]:end]
		switch kind {
		case "int2", "int4", "int8":
			if value == "(null)" {
				continue
			}
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil {
				return nil, err
			}
			columns[name] = n
		}
	}
	return columns, nil
}
