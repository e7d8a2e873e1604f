package attach

import (
	"strings"
	"testing"
)

func TestParseNode(t *testing.T) {
	for text, want := range map[string]Node{
		"n2=host=10.0.0.2 dbname=app":             {"n2", "host=10.0.0.2 dbname=app"},
		" n2 = postgres://u@h/app ":               {"n2", "postgres://u@h/app"},
		"n-2=host=h keepalives=1 dbname='my app'": {"n-2", "host=h keepalives=1 dbname='my app'"},
	} {
		if got, err := ParseNode(text); err != nil || got != want {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for text, says := range map[string]string{
		"":                                  "is not NAME=DSN",
		"n2":                                "is not NAME=DSN",
		"n2=":                               "is not NAME=DSN",
		"=host=h":                           "is not NAME=DSN",
		"postgres://u:secret@h/app?a=b":     "is not NAME=DSN",
		"host=h password=secret dbname=app": "host: ", // a conninfo without a name
		"n2=host=h port=many":               "n2: ",
		"n2=nonsense":                       "n2: ",
		"n2=host=h password=secret port=x":  "n2: ",
	} {
		_, err := ParseNode(text)
		if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v, want %q and no password", text, err, says)
		}
	}
}

func FuzzParseNode(f *testing.F) {
	f.Add("n2=host=h")
	f.Fuzz(func(t *testing.T, s string) {
		if n, err := ParseNode(s); err == nil && (n.Name == "" || n.DSN == "") {
			t.Errorf("%q: %+v", s, n)
		}
	})
}
