package pglogical

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spockchaos/spockchaos/topology/engine"
)

// As pglogical 2.4.2 and Spock 5.0.11 wrote them.
const (
	prefix       = "2026-11-28 15:15:43.632 UTC [26945] pglogical apply 13572:2979946351 "
	message      = "LOG:  CONFLICT: remote UPDATE on relation chaos.register (local index register_pkey). Resolution: keep_local.\n"
	localTuple   = "key[int8]:4294967298 session[int4]:1 n[int8]:1 value[int8]:-12 pad[text]:(unchanged-toast-datum)"
	remoteTuple  = "key[int8]:4294967298 session[int4]:1 n[int8]:4 value[int8]:22 pad[text]:(unchanged-toast-datum)"
	detail       = "DETAIL:  existing local tuple {" + localTuple + "} xid=770,origin=2,timestamp=2026-11-28 15:15:43.572315+00; remote tuple {" + remoteTuple + "} in xact origin=1,timestamp=2026-11-28 15:15:43.571702+00,commit_lsn=0/7D190248\n"
	logContext   = "CONTEXT:  apply UPDATE from remote relation chaos.register in commit before 1/7D190248, xid 761 committed at 2026-11-28 15:15:43.571702+00 (action #3) from node replorigin 1\n"
	keepLocal    = prefix + message + prefix + detail + prefix + logContext
	skipped      = prefix + "LOG:  CONFLICT: remote DELETE on relation chaos.register replica identity index register_pkey (tuple not found). Resolution: skip.\n" + prefix + "DETAIL:  remote tuple {key[int8]:4294967299 session[int4]:(null) n[int8]:(null) value[int8]:(null) pad[text]:(null)} in xact origin=1,timestamp=2026-11-28 15:15:42.754189+00,commit_lsn=0/7D190048\n"
	spockPrefix  = "2026-11-28 15:19:48.163 UTC [2] spock apply 16384:26863 "
	spockApplied = spockPrefix + "LOG:  CONFLICT: remote INSERT EXISTS on relation chaos.counter (local index counter_pkey). Resolution: apply_remote.\n" + spockPrefix + "DETAIL:  existing local tuple {key[int8]:5 value[int8]:7} xid=797,origin=local,timestamp=2026-11-28 15:19:48.16106+00; remote tuple {key[int8]:5 value[int8]:8} in xact origin=2,timestamp=2026-11-28 15:19:48.16+00,commit_lsn=0/7D1E0438\n"
)

var testOrigins = engine.Origins{0: "n2", 1: "n1", 2: "n3"}

// read is what of a log is taken for conflicts.
func read(t testing.TB, log string) (all []engine.Conflict, unread int) {
	t.Helper()
	unread, err := New().LoggedConflicts(strings.NewReader(log), testOrigins, func(c engine.Conflict) error {
		all = append(all, c)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all, unread
}

func stamp(t testing.TB, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func TestLoggedConflicts(t *testing.T) {
	got, unread := read(t, "a program said this\n"+keepLocal+"2026-11-28 15:15:44.000 UTC [7] psql LOG:  something\n"+skipped+spockApplied)
	want := []engine.Conflict{
		{Source: ServerLog, LoggedAt: stamp(t, "2026-11-28T15:15:43.632Z"), Table: "chaos.register", Operation: engine.Update, Resolution: engine.KeepLocal,
			Remote: engine.Version{Columns: map[string]int64{"key": 4294967298, "session": 1, "n": 4, "value": 22}, Origin: "n1", CommittedAt: stamp(t, "2026-11-28T15:15:43.571702Z")},
			Local:  &engine.Version{Columns: map[string]int64{"key": 4294967298, "session": 1, "n": 1, "value": -12}, Origin: "n3", CommittedAt: stamp(t, "2026-11-28T15:15:43.572315Z")}},
		{Source: ServerLog, LoggedAt: stamp(t, "2026-11-28T15:15:43.632Z"), Table: "chaos.register", Operation: engine.Delete, Resolution: engine.Skip,
			Remote: engine.Version{Columns: map[string]int64{"key": 4294967299}, Origin: "n1", CommittedAt: stamp(t, "2026-11-28T15:15:42.754189Z")}},
		{Source: ServerLog, LoggedAt: stamp(t, "2026-11-28T15:19:48.163Z"), Table: "chaos.counter", Operation: engine.Insert, Resolution: engine.ApplyRemote,
			Remote: engine.Version{Columns: map[string]int64{"key": 5, "value": 8}, Origin: "n3", CommittedAt: stamp(t, "2026-11-28T15:19:48.16Z")},
			Local:  &engine.Version{Columns: map[string]int64{"key": 5, "value": 7}, Origin: "n2", CommittedAt: stamp(t, "2026-11-28T15:19:48.16106Z")}},
	}
	for i := range got {
		if !strings.HasPrefix(got[i].Text, "CONFLICT: remote ") || !strings.Contains(got[i].Text, " DETAIL: ") {
			t.Errorf("entry %q", got[i].Text)
		}
		got[i].Text = ""
	}
	if unread != 0 || !reflect.DeepEqual(got, want) {
		t.Errorf("%d unread\n got %+v\nwant %+v", unread, got, want)
	}
	if gone := got[0].GivenUp(); gone.Columns["n"] != 4 || gone.Origin != "n1" {
		t.Errorf("keep_local gives up %+v", gone)
	}
	if gone := got[2].GivenUp(); gone.Columns["value"] != 7 || gone.Origin != "n2" {
		t.Errorf("apply_remote gives up %+v", gone)
	}
}

// TestLoggedConflictsAreWholeOrNone breaks an entry in one way each: none of them may explain anything.
func TestLoggedConflictsAreWholeOrNone(t *testing.T) {
	in := func(old, new string) string {
		t.Helper()
		if strings.Count(keepLocal, old) == 0 {
			t.Fatalf("the entry has no %q", old)
		}
		return strings.ReplaceAll(keepLocal, old, new)
	}
	for name, log := range map[string]string{
		"no DETAIL":               prefix + message + prefix + logContext,
		"a later DETAIL":          prefix + message + strings.Replace(prefix, "43.632", "43.633", 1) + detail,
		"another process's":       prefix + message + strings.Replace(prefix, "26945", "26946", 1) + detail,
		"a stranger between":      prefix + message + "2026-11-28 15:15:43.632 UTC [7] psql LOG:  x\n" + prefix + detail,
		"a client's":              in("pglogical apply 13572:2979946351", "psql"),
		"cut off":                 strings.TrimSuffix(prefix+message+prefix+detail, "48\n"),
		"two DETAILs":             prefix + message + prefix + detail + prefix + detail,
		"another severity":        in("LOG: ", "WARNING: "),
		"another resolution":      in("keep_local.", "keep_both."),
		"another operation":       in("remote UPDATE on", "remote TRUNCATE on"),
		"more in the message":     in("keep_local.\n", "keep_local. Or not.\n"),
		"a number too large":      in("n[int8]:4 ", "n[int8]:99999999999999999999 "),
		"no number":               in("n[int8]:4 ", "n[int8]:4x "),
		"a column twice":          in("value[int8]:22 ", "value[int8]:22 key[int8]:9 "),
		"nothing for a row":       in(remoteTuple, ""),
		"no commit time":          in("timestamp=2026-11-28 15:15:43.571702+00,commit", "timestamp=,commit"),
		"rows in the other order": in("existing local tuple", "existing remote tuple"),
		"an endless line":         in("(unchanged-toast-datum)", strings.Repeat("x", maxLine)),
	} {
		if got, _ := read(t, log); len(got) > 0 {
			t.Errorf("%s: %+v", name, got)
		}
	}
	// What nobody can know is no obstacle, and explains nothing by itself.
	if got, _ := read(t, in("origin=2,timestamp=2026-11-28 15:15:43.572315+00", "origin=-1,timestamp=")); len(got) != 1 || got[0].Local.Origin != "" || !got[0].Local.CommittedAt.IsZero() {
		t.Errorf("a row of unknown origin: %+v", got)
	}
	if _, unread := read(t, prefix+message); unread != 1 {
		t.Errorf("%d unread", unread)
	}
	if got, _ := read(t, keepLocal+keepLocal); len(got) != 2 {
		t.Errorf("%d conflicts of two", len(got))
	}
}

// FuzzLoggedConflicts reads any log: what it finds must be complete, and must not depend on how the log goes on.
func FuzzLoggedConflicts(f *testing.F) {
	f.Add(keepLocal + skipped + spockApplied)
	f.Add(prefix + message + "\t\n" + prefix + "DETAIL:  \n\t{\n" + keepLocal)
	f.Fuzz(func(t *testing.T, log string) {
		got, _ := read(t, log)
		for _, c := range got {
			switch {
			case c.Operation != engine.Insert && c.Operation != engine.Update && c.Operation != engine.Delete,
				c.Resolution != engine.Skip && c.Resolution != engine.KeepLocal && c.Resolution != engine.ApplyRemote,
				!strings.Contains(c.Table, "."), c.Remote.Columns == nil, c.Remote.CommittedAt.IsZero(), c.LoggedAt.IsZero():
				t.Fatalf("%+v of %q", c, log)
			}
		}
		more, _ := read(t, log+"\n"+keepLocal)
		if len(more) < len(got) || len(more) > len(got)+2 { // the log may have ended in the middle of one
			t.Fatalf("%d conflicts, %d with one more after %q", len(got), len(more), log)
		}
	})
}

// FuzzTextsInConflicts puts any text into the rows of an entry, as the server writes it: the columns that the table has must be read
// as they are, or none.
func FuzzTextsInConflicts(f *testing.F) {
	f.Add("plain", "also")
	f.Add("x key[int8]:9", "n[int8]:8")
	f.Add("} xid=1,origin=0,timestamp=; remote tuple {key[int8]:9", "} in xact origin=1,timestamp=2026-11-28 15:15:43+00,commit_lsn=0/1")
	f.Add("{d=1,orig0,timestamp=; remote tuple ikey[int8]:9", "a column [int8]:9 other[int8]:9 that the table does not have")
	f.Add("a\n"+prefix+message, "\n"+prefix+"DETAIL:  remote tuple {key[int8]:9} in xact origin=1,timestamp=2026-11-28 15:15:43+00,commit_lsn=0/1")
	f.Fuzz(func(t *testing.T, local, remote string) {
		entry := fmt.Sprintf("DETAIL:  existing local tuple {note[text]:%s key[int8]:5 n[int8]:6} xid=770,origin=2,timestamp=2026-11-28 15:15:43.57+00; "+
			"remote tuple {note[text]:%s key[int8]:5 n[int8]:7} in xact origin=1,timestamp=2026-11-28 15:15:43.58+00,commit_lsn=0/7D190248", local, remote)
		got, unread := read(t, prefix+message+prefix+strings.ReplaceAll(entry, "\n", "\n\t")+"\n")
		if len(got)+unread != 1 {
			t.Fatalf("%d conflicts, %d unread", len(got), unread)
		}
		for _, c := range got {
			if c.Remote.Columns["key"] != 5 || c.Remote.Columns["n"] != 7 || c.Local.Columns["key"] != 5 || c.Local.Columns["n"] != 6 ||
				c.Remote.Origin != "n1" || c.Local.Origin != "n3" {
				t.Fatalf("%q, %q: %+v, %+v", local, remote, c.Remote, c.Local)
			}
		}
	})
}
