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
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := parseStat(b); err == nil && p.state == 0 {
			t.Errorf("%+v", p)
		}
		if p, err := parsePidfile(b); err == nil && p.shm < -1 && !strings.Contains(string(b), "-") {
			t.Errorf("%+v", p)
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
