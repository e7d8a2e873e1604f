package local

import (
	"os"
	"strings"
	"testing"
)

func TestParseStat(t *testing.T) {
	const rest = " S 7 1 1 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 4711 99 88"
	for _, name := range []string{"postgres", "a) S 1 (b", "", ") Z 1", "new\nline"} {
		p, err := parseStat([]byte("42 (" + name + ")" + rest))
		if err != nil || p.pid != 42 || p.parent != 7 || p.name != name || p.state != 'S' || p.started != 4711 {
			t.Errorf("%q: %+v, %v", name, p, err)
		}
	}
	for _, bad := range []string{"", "42", "42 (x", "x (y)" + rest, "42 (x) S 7", "42 (x)" + strings.Replace(rest, "4711", "-", 1)} {
		if p, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q: %+v", bad, p)
		}
	}
	if p, ok := look(os.Getpid()); !ok || p.pid != os.Getpid() || p.parent != os.Getppid() || p.started == 0 {
		t.Errorf("%+v, %v", p, ok)
	}
}

func TestParsePidfile(t *testing.T) {
	const whole = "123\n/data\n1700000000\n5432\n/tmp\n127.0.0.1\n  1234567     89\nready   \n"
	f, err := parsePidfile([]byte(whole))
	if err != nil || f != (pidfile{pid: 123, dataDir: "/data", port: 5432, shm: 89}) {
		t.Errorf("%+v, %v", f, err)
	}
	f, err = parsePidfile([]byte("123\n/data\n1700000000\n5432\n"))
	if err != nil || f.shm != -1 {
		t.Errorf("%+v, %v", f, err)
	}
	for _, bad := range []string{"", "x\ny\n", "1\n/d\n2\nport\n"} {
		if f, err := parsePidfile([]byte(bad)); err == nil {
			t.Errorf("%q: %+v", bad, f)
		}
	}
}

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
		_, got, err := parseVersion(in)
		if got != want || (err == nil) != (want != 0) {
			t.Errorf("%q: %d, %v", in, got, err)
		}
	}
}

func TestConfValue(t *testing.T) {
	for in, want := range map[string]string{
		"64MB": `'64MB'`, "it's": `'it''s'`, `a\b`: `'a\\b'`, "pgoutput, test_decoding": `'pgoutput, test_decoding'`, "": `''`,
	} {
		if got := confValue(in); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("42 (postgres) S 7 1 1 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 4711 99 88"))
	f.Add([]byte("123\n/data\n1700000000\n5432\n/tmp\n127.0.0.1\n  1234567     89\nready   \n"))
	f.Add([]byte("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := parseStat(b); err == nil && p.state == 0 {
			t.Errorf("%+v", p)
		}
		if p, err := parsePidfile(b); err == nil && p.shm < -1 && !strings.Contains(string(b), "-") {
			t.Errorf("%+v", p)
		}
		if v, n, err := parseVersion(string(b)); err == nil && (v == "" || n < 0 || n >= 100_000_000) {
			t.Errorf("%q %d", v, n)
		}
	})
}

func TestComplaints(t *testing.T) {
	for out, want := range map[string]string{
		"creating\nFATAL:  could not write: No space left on device\nchild process exited\ninitdb: removing\n": "FATAL:  could not write: No space left on device",
		"initdb: error: directory exists\ninitdb: hint: remove it\n":                                           "initdb: error: directory exists",
		"one\ntwo\n": "one | two",
		"":           "",
	} {
		if got := lastLines(complaints([]byte(out)), 3); got != want {
			t.Errorf("of %q it shows %q, want %q", out, got, want)
		}
	}
}
