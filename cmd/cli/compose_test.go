package cli_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spockchaos/spockchaos/cmd/cli"
	"github.com/spockchaos/spockchaos/topology/engine"
	"github.com/spockchaos/spockchaos/topology/engine/pglogical"
	"github.com/spockchaos/spockchaos/topology/mesh"
)

// composeBench is a bench with the compose file of a cluster, whose set-up and checks come out as the test wants.
type composeBench struct {
	*bench
	steps   []mesh.Step
	results []mesh.Result
	fails   error
	got     []mesh.Cluster
	options mesh.Options
}

func newComposeBench(t *testing.T, generate ...string) *composeBench {
	b := &composeBench{bench: newBench(t)}
	b.Engine = func(name string) (engine.Engine, error) {
		if name != "pglogical" {
			return nil, errors.New("engine " + name + " is not known")
		}
		return pglogical.New(), nil
	}
	b.Setup = func(_ context.Context, c mesh.Cluster, report func(mesh.Step)) error {
		b.got = append(b.got, c)
		c.Waiting()
		for _, s := range b.steps {
			report(s)
		}
		return b.fails
	}
	b.TestMesh = func(ctx context.Context, c mesh.Cluster, o mesh.Options, report func(mesh.Result)) (bool, error) {
		b.got, b.options = append(b.got, c), o
		ok := true
		for _, r := range b.results {
			report(r)
			ok = ok && r.OK
		}
		if b.fails != nil {
			b.signals <- syscall.SIGINT
			<-ctx.Done()
		}
		return ok, b.fails
	}
	if code := b.main(append([]string{"generate"}, generate...)...); code != 0 {
		t.Fatalf("generate: exit status %d; %s", code, b.err.String())
	}
	b.out = lockedBuffer{}
	return b
}

func TestGenerate(t *testing.T) {
	b := newComposeBench(t)
	if code := b.main("generate", "--nodes", "4", "--pg-ver", "18", "--base-delay-ms", "5", "--delay-step-ms", "2",
		"--host-port-start", "20000", "--subnet", "10.1.0.0/24", "--compose-file", "sub/c.yml", "--engine", "spock", "-v"); code != 0 {
		t.Fatalf("exit status %d; %s", code, b.err.String())
	}
	text, err := os.ReadFile("sub/c.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"ghcr.io/pgedge/pgedge-postgres:18-spock5-standard", "127.0.0.1:20003:5432", "10.1.0.50",
		"from=n4,to=n3,listen=5443,server=10.1.0.34:5432,delay=35ms", "--shared_preload_libraries=spock"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the file has no %s", want)
		}
	}
	for _, want := range []string{"sub/c.yml: 4 nodes of PostgreSQL 18 with spock\n", "! setup and test cannot work on it: engine spock is not known\n",
		"127.0.0.1:20003  n4 (10.1.0.50)\n", "n4>n3 delays by 35ms\n"} {
		if !strings.Contains(b.out.String(), want) {
			t.Errorf("no %q in\n%s", want, b.out.String())
		}
	}
}

func TestComposeBadInput(t *testing.T) {
	b := newComposeBench(t)
	write(t, "foreign.yml", "services:\n  db:\n    image: postgres\n")
	write(t, "broken.yml", "services: [")
	mine, err := os.ReadFile("docker-compose.yml")
	if err != nil {
		t.Fatal(err)
	}
	write(t, "edited.yml", string(mine)+"# mine\n")
	write(t, "newer.yml", strings.Replace(string(mine), "format: 1", "format: 2", 1))
	write(t, "nolink.yml", strings.Replace(string(mine), "from=n2,to=n1", "from=n2,to=n3", 1))
	if code := b.main("generate", "--engine", "spock", "--compose-file", "spock.yml"); code != 0 {
		t.Fatal(b.err.String())
	}
	for args, says := range map[string]string{
		"generate --nodes 1":                      "a cluster in compose has 2 to 9 nodes, not 1",
		"generate --nodes 10":                     "a cluster in compose has 2 to 9 nodes, not 10",
		"generate --nodes many":                   `invalid argument "many"`,
		"generate --pg-ver 16":                    "no image has PostgreSQL 16 with pglogical: there are 15, 17, 18",
		"generate --pg-ver 0":                     "--pg-ver 0 must be 15, 17 or 18",
		"generate --pg-ver 15 --engine spock":     "no image has PostgreSQL 15 with spock: there are 17, 18",
		"generate --engine bdr":                   `no image has engine "bdr": there are pglogical and spock`,
		"generate --base-delay-ms -1":             "--base-delay-ms -1 must be from 0 to 60000",
		"generate --delay-step-ms 60001":          "--delay-step-ms 60001 must be from 0 to 60000",
		"generate --delay-step-ms 60000":          "no link may have less than 0 or more than 1m0s",
		"generate --host-port-start 80":           "the ports from 80 to 101 cannot be published: the first must be from 1024 to 65514",
		"generate --host-port-start 65515":        "the ports from 65515 to 65536 cannot be published",
		"generate --subnet 10.0.0.1":              `subnet "10.0.0.1" is not an address with a length`,
		"generate --subnet 10.0.0.1/24":           "subnet 10.0.0.1/24 begins at 10.0.0.0",
		"generate --subnet fd00::/64":             "subnet fd00::/64 is not IPv4",
		"generate --subnet 127.0.0.0/24":          "subnet 127.0.0.0/24 cannot be a network of containers",
		"generate --subnet 10.0.0.0/26 --nodes 5": "subnet 10.0.0.0/26 is too small: 5 nodes need a /25",
		"generate --compose-file foreign.yml":     "foreign.yml was not generated by spockchaos; --force overwrites it",
		"generate --compose-file edited.yml":      "edited.yml was changed by hand since it was generated; --force overwrites it",
		"generate --compose-file=":                "--compose-file names no file",
		"generate --compose-file .":               "is a directory",
		"generate extra":                          "takes no arguments",
		"setup --compose-file none.yml":           "there is no none.yml: spockchaos generate writes one",
		"setup --compose-file foreign.yml":        "foreign.yml: was not generated by spockchaos",
		"setup --compose-file broken.yml":         "broken.yml is no compose file",
		"setup --compose-file newer.yml":          "newer.yml: has format 2, this program reads 1: generate it again",
		"setup --compose-file nolink.yml":         "nolink.yml: service links: has no link n2>n1",
		"setup --compose-file spock.yml":          "spock.yml: engine spock is not known",
		"setup --compose-file=":                   "--compose-file names no file",
		"setup --nodes 4":                         "--nodes 4: docker-compose.yml has 3",
		"setup --nodes 0":                         "--nodes 0 must be from 2 to 9",
		"test --nodes 2":                          "--nodes 2: docker-compose.yml has 3",
		"test --host-port-start 5432":             "--host-port-start 5432: in docker-compose.yml n1 has port 15432",
		"test --output xml":                       `--output "xml" is not known: text or json`,
		"test --compose-file foreign.yml":         "was not generated by spockchaos",
	} {
		t.Run(args, func(t *testing.T) {
			b.err = lockedBuffer{}
			if code := b.main(strings.Split(args, " ")...); code != cli.ExitNotRun {
				t.Errorf("exit status %d", code)
			}
			if got := b.err.String(); !strings.Contains(got, says) || strings.Count(got, "\n") != 1 {
				t.Errorf("%q, should contain %q in one line", got, says)
			}
		})
	}
	if len(b.got) > 0 {
		t.Error("something was set up or tested")
	}
	if now, err := os.ReadFile("docker-compose.yml"); err != nil || string(now) != string(mine) {
		t.Errorf("docker-compose.yml is not what it was (%v)", err)
	}
	if code := b.main("generate", "--compose-file", "foreign.yml", "--force"); code != 0 {
		t.Error(b.err.String())
	}
	if now, err := os.ReadFile("foreign.yml"); err != nil || string(now) != string(mine) {
		t.Errorf("--force did not overwrite (%v)", err)
	}
}

func TestSetupCommand(t *testing.T) {
	b := newComposeBench(t, "--host-port-start", "21000")
	b.steps = []mesh.Step{{Name: "servers answer", Took: 1500 * time.Millisecond, Notes: []string{"something\nelse"}}, {Name: "mesh is wired", Took: 10 * time.Millisecond}}
	if code := b.main("setup", "--nodes", "3", "--host-port-start", "21000"); code != 0 {
		t.Fatalf("exit status %d; %s", code, b.err.String())
	}
	want := "✓ servers answer          1.50 s\n  ! something else\n✓ mesh is wired           0.01 s\n"
	if b.out.String() != want {
		t.Errorf("output\n%s\nwant\n%s", b.out.String(), want)
	}
	if got := b.err.String(); got != "spockchaos: waiting for the servers of docker-compose.yml\n" {
		t.Errorf("standard error: %q", got)
	}
	m := b.got[0].Members[1]
	if m.DSN != "host=127.0.0.1 port=21001 user=spockchaos password=spockchaos dbname=chaos sslmode=disable connect_timeout=5" ||
		m.OwnDSN() != strings.Replace(m.DSN, "21001", "5432", 1) ||
		!strings.HasPrefix(m.PeerDSN["n3"], "host=links port=5432 ") || !strings.HasPrefix(m.PeerDSN["client"], "host=127.0.0.1 port=21011 ") {
		t.Errorf("n2 is %+v", m)
	}
	said := b.err.String()
	b.out, b.err = lockedBuffer{}, lockedBuffer{}
	b.steps, b.fails = []mesh.Step{{Name: "servers answer", Took: time.Second, Err: errors.New("n2: connection refused")}}, errors.New("said above")
	if code := b.main("setup", "-v"); code != cli.ExitFindings || b.err.String() != said {
		t.Errorf("exit status %d; %s", code, b.err.String())
	}
	if got := b.out.String(); !strings.HasSuffix(got, "✗ servers answer          1.00 s  n2: connection refused\n") || !strings.Contains(got, "127.0.0.1:21001  n2") {
		t.Errorf("output\n%s", got)
	}
}

func TestTestCommand(t *testing.T) {
	b := newComposeBench(t)
	b.results = []mesh.Result{
		{Name: "host connectivity", OK: true, Took: time.Second / 4, Reason: "all well", Parts: []mesh.Part{{Subject: "n1", OK: true, Took: time.Second / 8, Reason: "here"}}},
		{Name: "nodes", Took: time.Second, Reason: "n2: is n3; n3: is n2", Parts: []mesh.Part{{Subject: "n2", Reason: "is n3"}, {Subject: "n3", Reason: "is n2"}}},
		{Name: "data flow", OK: true, Skipped: true, Reason: "skipped"},
	}
	if code := b.main("test", "--skip-replication", "-v"); code != cli.ExitFindings || b.err.String() != "" || !b.options.SkipReplication {
		t.Errorf("exit status %d; %s %+v", code, b.err.String(), b.options)
	}
	want := `✓ host connectivity         0.25 s  all well
    ✓ n1          0.12 s  here
✗ nodes                     1.00 s  n2: is n3; n3: is n2
    ✗ n2          0.00 s  is n3
    ✗ n3          0.00 s  is n2
– data flow                 0.00 s  skipped
`
	if got := b.out.String(); !strings.HasSuffix(got, want) || !strings.Contains(got, "127.0.0.1:15442  client>n1\n") {
		t.Errorf("output\n%s\nwant at the end\n%s", got, want)
	}
	b.out = lockedBuffer{}
	if code := b.main("test", "--output", "json"); code != cli.ExitFindings || b.options.SkipReplication {
		t.Errorf("exit status %d", code)
	}
	var doc struct {
		OK     bool
		Engine string
		Nodes  []string
		Checks []struct {
			Name, Reason string
			OK, Skipped  bool
			Took         float64 `json:"took_ms"`
			Parts        []struct {
				Subject, Reason string
				OK              bool
			}
		}
	}
	if err := json.Unmarshal([]byte(b.out.String()), &doc); err != nil {
		t.Fatalf("%v\n%s", err, b.out.String())
	}
	if doc.OK || doc.Engine != "pglogical" || len(doc.Nodes) != 3 || len(doc.Checks) != 3 || !doc.Checks[0].OK || doc.Checks[0].Took != 250 ||
		doc.Checks[1].OK || len(doc.Checks[1].Parts) != 2 || !doc.Checks[2].Skipped {
		t.Errorf("%+v", doc)
	}
	b.results = b.results[:1]
	if code := b.main("test"); code != cli.ExitPass {
		t.Errorf("exit status %d", code)
	}
	b.fails = context.Canceled
	if code := b.main("test"); code != cli.ExitInterrupted || !strings.Contains(b.err.String(), "removing what the test wrote") {
		t.Errorf("exit status %d; %s", code, b.err.String())
	}
}
