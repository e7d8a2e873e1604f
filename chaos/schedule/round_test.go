package schedule

import (
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestReadWrite(t *testing.T) {
	r, err := Draw(3, 1, Config{Nodes: nodes(4), Chaos: 12 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "schedule.json")
	if err := r.Write(path); err != nil {
		t.Fatal(err)
	}
	back, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(r, back) {
		t.Errorf("read back:\n%+v\nwritten:\n%+v", back, r)
	}
	if _, err := Read(path + ".none"); err == nil {
		t.Error("a file that is not there was read")
	}
}

// A schedule that was changed by hand is refused with the reason.
func TestParseRefuses(t *testing.T) {
	r, err := Draw(3, 1, Config{Nodes: nodes(3), Chaos: 12 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	good, err := r.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ name, old, new, want string }{
		{"cut off", "]\n}", "", "schedule"},
		{"kind", `"kind": "loss"`, `"kind": "rest"`, "rest"},
		{"fault", `"name": "loss"`, `"name": "gain"`, "gain"},
		{"node", `"failed": "n1"`, `"failed": "n7"`, "n7"},
		{"target", `"target": "` + r.Target + `",`, `"target": "n1",`, "survivor"},
		{"lag", `"lag_id": `, `"lag_id": 9`, "lag"},
	} {
		bad := strings.Replace(string(good), tc.old, tc.new, 1)
		if bad == string(good) {
			t.Errorf("%s: nothing to change", tc.name)
			continue
		}
		if _, err := Parse([]byte(bad)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error %v, want one with %q", tc.name, err, tc.want)
		}
	}
}

// Whatever is parsed without an error can be written and is the same when read again.
func FuzzParse(f *testing.F) {
	for _, n := range []int{1, 2, 3} {
		r, err := Draw(5, n, Config{Nodes: nodes(3), Chaos: 8 * time.Second})
		if err != nil {
			f.Fatal(err)
		}
		data, err := r.Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(`{"kind":"crash","nodes":["n1"],"failed":"n1","chaos_ns":1,"faults":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := Parse(data)
		if err != nil {
			return
		}
		out, err := r.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(out)
		if err != nil {
			t.Fatalf("what was written cannot be read: %v\n%s", err, out)
		}
		second, err := again.Marshal()
		if err != nil || string(second) != string(out) {
			t.Fatalf("not stable: %v\n%s\n%s", err, out, second)
		}
	})
}
