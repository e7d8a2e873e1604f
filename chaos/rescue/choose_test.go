package rescue

import (
	"slices"
	"testing"

	"github.com/spockchaos/spockchaos/checker/rundir"
)

func TestChoose(t *testing.T) {
	at := func(node string, progress rundir.LSN) Standing {
		return Standing{Node: node, Progress: progress, SlotStatus: "reserved"}
	}
	slot := func(s Standing, status string) Standing { s.SlotStatus = status; return s }
	unfinished := func(s Standing) Standing { s.Unfinished = true; return s }
	for _, tc := range []struct {
		name    string
		all     []Standing
		source  string
		targets []string
	}{
		{"nobody", nil, "", nil},
		{"one survivor", []Standing{at("n2", 5)}, "n2", nil},
		{"level", []Standing{at("n2", 5), at("n3", 5)}, "n2", nil},
		{"one lags", []Standing{at("n2", 4), at("n3", 5)}, "n3", []string{"n2"}},
		{"two lag", []Standing{at("n2", 4), at("n3", 9), at("n4", 0)}, "n3", []string{"n2", "n4"}},
		{"nobody has anything", []Standing{at("n2", 0), at("n3", 0)}, "n2", nil},
		{"the first has no slot", []Standing{slot(at("n2", 5), ""), at("n3", 5), at("n4", 1)}, "n3", []string{"n4"}},
		{"its WAL is gone", []Standing{slot(at("n2", 5), "lost"), slot(at("n3", 5), "unreserved")}, "n3", nil},
		{"its WAL will go", []Standing{slot(at("n2", 5), "unreserved"), at("n3", 5)}, "n3", nil},
		{"the most counts first", []Standing{slot(at("n2", 6), "lost"), at("n3", 5)}, "n2", []string{"n3"}},
		{"an interrupted one is a target", []Standing{unfinished(at("n2", 5)), at("n3", 5)}, "n3", []string{"n2"}},
		{"unless only it can be read", []Standing{unfinished(at("n2", 5)), slot(at("n3", 5), "")}, "n2", nil},
	} {
		source, targets := Choose(tc.all)
		got := ""
		if source >= 0 {
			got = tc.all[source].Node
		}
		var names []string
		for _, i := range targets {
			names = append(names, tc.all[i].Node)
		}
		if got != tc.source || !slices.Equal(names, tc.targets) {
			t.Errorf("%s: source %q, targets %v", tc.name, got, names)
		}
	}
}
