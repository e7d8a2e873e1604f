package server

import "testing"

func TestParseVersion(t *testing.T) {
	for in, want := range map[string]int{
		"postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n": 150018,
		"PostgreSQL 18.6":                  180006,
		"postgres (PostgreSQL) 19beta1":    190000,
		"postgres (PostgreSQL) 17devel":    170000,
		"nothing":                          0,
		"":                                 0,
		"postgres 15.x":                    0,
		"postgres 99999999999999999999.1":  0,
		"postgres 15.99999999999999999999": 0,
	} {
		_, got, err := ParseVersion(in)
		if got != want || (err == nil) != (want != 0) {
			t.Errorf("%q: %d, %v", in, got, err)
		}
	}
}

func FuzzParseVersion(f *testing.F) {
	f.Add("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n")
	f.Fuzz(func(t *testing.T, s string) {
		if v, n, err := ParseVersion(s); err == nil && (v == "" || n < 0 || n >= 100_000_000) {
			t.Errorf("%q %d", v, n)
		}
	})
}

// A node's WAL begins where no other's does, and where the seed says.
func TestWALStarts(t *testing.T) {
	all := WALStarts(7, 9)
	seen := map[string]bool{}
	for i, s := range all {
		if seen[s] || len(s) != 24 || s <= "00000001000000000000000F" || s > "000000010000001100000000" {
			t.Errorf("node %d begins at %s of %v", i+1, s, all)
		}
		seen[s] = true
	}
	if again := WALStarts(7, 9); again[0] != all[0] || again[8] != all[8] {
		t.Errorf("the same seed gives %v, then %v", all, again)
	}
	if other := WALStarts(8, 9); other[0] == all[0] && other[1] == all[1] {
		t.Errorf("another seed gives %v as well", other)
	}
}
