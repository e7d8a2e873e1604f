package scenario

import (
	"reflect"
	"strings"
	"testing"

	"github.com/spockchaos/spockchaos/chaos/retained"
)

func TestDecodedCounts(t *testing.T) {
	var d decoded
	for _, table := range []string{"scenario.queue", "scenario.mark", "spock.recovery_heartbeat", "public.t", "scenariox.t"} {
		if err := d.add('U', table, &retained.Fields{}); err != nil {
			t.Error(err)
		}
	}
	if want := (decoded{rows: 2, beats: 1, changes: 2}); !reflect.DeepEqual(d, want) {
		t.Errorf("%+v, want %+v", d, want)
	}
	if err := d.add('I', "scenario.mark", &retained.Fields{}); err == nil || !strings.Contains(err.Error(), "kind") {
		t.Errorf("a mark without columns: %v", err)
	}
}

// TestCompare shows a clone that is not what the target lacks.
func TestCompare(t *testing.T) {
	data := func(lsn position, marks ...int) decoded { return decoded{lsn: lsn, marks: marks, rows: 2} }
	beat := func(lsn position) decoded { return decoded{lsn: lsn, beats: 1} }
	for name, c := range map[string]struct {
		all   []decoded
		lacks []int
		want  string
	}{
		"right":                    {[]decoded{data(11, 4), beat(12), data(13, 5)}, []int{4, 5}, ""},
		"one is gone":              {[]decoded{beat(12), data(13, 5)}, []int{4, 5}, "lost 1 transactions that n3 needs: 4"},
		"one too many":             {[]decoded{data(11, 4), data(13, 5)}, []int{5}, "does not lack: 4"},
		"one twice":                {[]decoded{data(11, 4), data(12, 4), data(13, 5)}, []int{4, 5}, "twice"},
		"the end is missing":       {[]decoded{data(11, 4), data(12, 5)}, []int{4, 5}, "ends at 0/C"},
		"nothing at all":           {nil, []int{4, 5}, "lost 2"},
		"heartbeats only":          {[]decoded{beat(13)}, nil, "shown nothing"},
		"somebody else's":          {[]decoded{data(11, 4), {lsn: 12, changes: 1}, data(13, 5)}, []int{4, 5}, "not the scenario's"},
		"a transaction of nothing": {[]decoded{data(11, 4), {lsn: 12}, data(13, 5)}, []int{4, 5}, "empty transaction"},
	} {
		t.Run(name, func(t *testing.T) {
			var e evidence
			(&scene{}).compare(&e, c.all, c.lacks, 10, 13)
			if all := strings.Join(e.problems, "; "); !strings.Contains(all, c.want) || (c.want == "") != (all == "") {
				t.Errorf("problems %q, want %q", all, c.want)
			}
		})
	}
}
