package chaos

import (
	"slices"
	"testing"
)

func TestChoose(t *testing.T) {
	for _, tc := range []struct {
		name    string
		all     []standing
		source  string
		targets []string
	}{
		{"one survivor", []standing{{node: "n2", progress: 5}}, "n2", nil},
		{"level", []standing{{node: "n2", progress: 5}, {node: "n3", progress: 5}}, "n2", nil},
		{"one lags", []standing{{node: "n2", progress: 4}, {node: "n3", progress: 5}}, "n3", []string{"n2"}},
		{"two lag", []standing{{node: "n2", progress: 4}, {node: "n3", progress: 9}, {node: "n4"}}, "n3", []string{"n2", "n4"}},
		{"nobody has anything", []standing{{node: "n2"}, {node: "n3"}}, "n2", nil},
	} {
		source, targets := choose(tc.all)
		var names []string
		for _, s := range targets {
			names = append(names, s.node)
		}
		if source.node != tc.source || !slices.Equal(names, tc.targets) {
			t.Errorf("%s: source %s, targets %v", tc.name, source.node, names)
		}
	}
}
