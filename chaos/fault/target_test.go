package fault

import "testing"

func TestParseLink(t *testing.T) {
	for target, ok := range map[string]bool{
		"n2>n1": true, "client>n1": true,
		"": false, "n1": false, "n1>": false, ">n1": false, "n1>n1": false, "n1>client": false,
		"n1<>n2": false, "n1>n2>n3": false, "n1 >n2": false,
	} {
		if _, _, err := ParseLink(target); (err == nil) != ok {
			t.Errorf("%q: %v", target, err)
		}
	}
}

func TestParsePair(t *testing.T) {
	for target, ok := range map[string]bool{
		"n1<>n3": true, "n1>n3": false, "n1<>n1": false, "client<>n1": false, "<>": false, "n1<>n2<>n3": false,
	} {
		if _, _, err := ParsePair(target); (err == nil) != ok {
			t.Errorf("%q: %v", target, err)
		}
	}
}

func FuzzParseTargets(f *testing.F) {
	for _, s := range []string{"n2>n1", "client>n1", "n1<>n3", "<>", ">"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if from, to, err := ParseLink(s); err == nil && LinkName(from, to) != s {
			t.Errorf("%q is read as %q and %q", s, from, to)
		}
		if a, b, err := ParsePair(s); err == nil && a+"<>"+b != s {
			t.Errorf("%q is read as %q and %q", s, a, b)
		}
	})
}
