package link

import (
	"strings"
	"testing"
	"time"
)

func TestParseSpec(t *testing.T) {
	for text, want := range map[string]Spec{
		"from=client,to=n1,listen=6001,server=n1:5432":              {From: "client", To: "n1", Port: 6001, Server: "n1:5432"},
		"delay=30ms,server=10.0.0.7:5432,listen=65535,to=n1,from=b": {From: "b", To: "n1", Port: 65535, Server: "10.0.0.7:5432", Delay: 30 * time.Millisecond},
		"from=n1,to=n2,listen=1,server=[fd00::2]:5432,delay=1.5ms":  {From: "n1", To: "n2", Port: 1, Server: "[fd00::2]:5432", Delay: 1500 * time.Microsecond},
	} {
		got, err := ParseSpec(text)
		if got != want || err != nil {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
		if again, err := ParseSpec(got.String()); again != want || err != nil {
			t.Errorf("%s: %+v, %v", got, again, err)
		}
	}
	const good = "from=n2,to=n1,listen=6001,server=n1:5432"
	for text, why := range map[string]string{
		"":                                       "not key=value",
		"n2>n1":                                  "not key=value",
		good + ",":                               "not key=value",
		good + ",delay":                          "not key=value",
		good + ",from=n3":                        "from is given twice",
		good + ",delay=":                         "must be a duration",
		good + ",delay=30":                       "must be a duration",
		"from=,to=n1,listen=1,server=n1:1":       `"" is no name of a node`,
		good + ",delay=-1ms":                     "from 0 to 1m0s",
		good + ",delay=2m":                       "from 0 to 1m0s",
		good + ",via=n3":                         `unknown key "via"`,
		"from=n2,to=n1,listen=1":                 "server is missing",
		"from=n2,to=n2,listen=1,server=n2:1":     "to itself",
		"from=n 2,to=n1,listen=1,server=n1:1":    "no name of a node",
		"from=n2,to=n1>n3,listen=1,server=n1:1":  "no name of a node",
		"from=n2,to=n1,listen=0,server=n1:1":     "must be a port",
		"from=n2,to=n1,listen=65536,server=n1:1": "no port 65536",
		"from=n2,to=n1,listen=0.0.0.0:6001,server=n1:1": "must be a port",
		"from=n2,to=n1,listen=1,server=n1":              "no address of a server",
		"from=n2,to=n1,listen=1,server=:5432":           "no address of a server",
		"from=n2,to=n1,listen=1,server=n1:0":            "no address of a server",
		"from=n2,to=n1,listen=1,server=n1:postgres":     "no address of a server",
	} {
		_, err := ParseSpec(text)
		if err == nil || !strings.Contains(err.Error(), why) || !strings.HasPrefix(err.Error(), "link ") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v, want %q", text, err, why)
		}
	}
}

func FuzzParseSpec(f *testing.F) {
	f.Add("from=client,to=n1,listen=6001,server=n1:5432,delay=30ms")
	f.Add("from=n2,to=n1,listen=1,server=[::1]:1")
	f.Add("delay=1h,,=")
	f.Add("a\nkey=")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseSpec(text)
		if err != nil {
			if s != (Spec{}) || strings.Contains(err.Error(), "\n") {
				t.Fatalf("%+v, %v", s, err)
			}
			return
		}
		if again, err := ParseSpec(s.String()); again != s || err != nil {
			t.Fatalf("%q is %+v, written again %+v, %v", text, s, again, err)
		}
	})
}
