package scenario

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/spockchaos/spockchaos/chaos"
	"github.com/spockchaos/spockchaos/sql"
)

// defect is a broken procedure and where the scenario must notice it.
type defect struct {
	step  int    // 0: it must pass
	says  string // one of the step's problems
	or    string // another that may come first; "" for none
	text  string // SQL; "" is the file of that name in checker/testdata/defects
	equal time.Duration
}

// named says whether the problems are those of the defect.
func (d defect) named(problems string) bool {
	return strings.Contains(problems, d.says) || d.or != "" && strings.Contains(problems, d.or)
}

// brief is how long survivors that never agree are waited for.
const brief = 3 * time.Second

var defects = map[string]defect{
	"":             {},
	"own_progress": {step: 6, says: "the slot has lost 32 transactions that n3 needs"},
	// Between the drop and the making there is no slot to look at.
	"slot_recreated":    {step: 6, says: "the slot has lost 32 transactions that n3 needs", or: "n2 has no recovery slot"},
	"clone_position":    {step: 9, says: "is lost", equal: brief},
	"ignores_origin":    {step: 9, says: "is lost", equal: brief},
	"loses_deletes":     {step: 9, says: "item: n2", equal: brief},
	"replay_everything": {step: 9, says: "is doubled", equal: brief},
	"leaves_clone":      {step: 9, says: "clone slot spk_rescue_clone"},
	"no_resume":         {step: 9, says: "subscription disabled"},
	"overwrites_newer":  {step: 9, says: "account: n2", equal: brief},
	// The position that a peer reports is one in another node's WAL.
	"mixes up positions": {step: 2, says: "the recovery slots pass the baseline", text: `
		CREATE OR REPLACE FUNCTION spock.recovery_allows(origin text, need pg_lsn, mine pg_lsn, cap pg_lsn) RETURNS pg_lsn
		LANGUAGE sql STABLE AS $$ SELECT least(need, cap) $$`},
	"fails": {step: 8, says: "no, thanks", text: rename + `
		CREATE PROCEDURE spock.recovery(` + signature + `) LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no, thanks'; END $$`},
	"a second call writes": {step: 9, says: "a second call changed table event on n2", text: rename + `
		CREATE TABLE scenario.calls (n int);
		CREATE PROCEDURE spock.recovery(` + signature + `) LANGUAGE plpgsql AS $$ BEGIN
			IF EXISTS (SELECT FROM scenario.calls) THEN
				INSERT INTO scenario.event VALUES ('n1', 9, 1);
			ELSE
				CALL spock.recovery_as_it_was(failed_node_name, source_node_name, source_dsn, target_node_name, target_dsn, stop_lsn, skip_lsn, stop_timestamp, verb);
				INSERT INTO scenario.calls VALUES (1);
			END IF;
		END $$`},
	"a second call fails": {step: 9, says: "a second call: ", text: rename + `
		CREATE TABLE scenario.calls (n int);
		CREATE PROCEDURE spock.recovery(` + signature + `) LANGUAGE plpgsql AS $$ BEGIN
			IF EXISTS (SELECT FROM scenario.calls) THEN
				RAISE EXCEPTION 'it was done before';
			END IF;
			CALL spock.recovery_as_it_was(failed_node_name, source_node_name, source_dsn, target_node_name, target_dsn, stop_lsn, skip_lsn, stop_timestamp, verb);
			INSERT INTO scenario.calls VALUES (1);
		END $$`},
}

const (
	signature = `failed_node_name text, source_node_name text, source_dsn text, target_node_name text, target_dsn text,
		stop_lsn pg_lsn DEFAULT NULL, skip_lsn pg_lsn DEFAULT NULL, stop_timestamp timestamptz DEFAULT NULL, verb boolean DEFAULT false`
	rename = `ALTER PROCEDURE spock.recovery RENAME TO recovery_as_it_was;`
)

// TestDefects runs steps 2 to 9 with each broken procedure on the same wired cluster, and with none first.
func TestDefects(t *testing.T) {
	files, err := filepath.Glob("../../checker/testdata/defects/*.sql")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d defects found: %v", len(files), err)
	}
	names := []string{""}
	for _, f := range files { // each must be in the table
		names = append(names, strings.TrimSuffix(filepath.Base(f), ".sql"))
	}
	for name, d := range defects {
		if d.text != "" {
			names = append(names, name)
		}
	}
	ctx := context.Background()
	wired := newScene(testConfig(t, 3), testDeps(t), chaos.RecoverySQL{})
	t.Cleanup(func() {
		if err := wired.close(); err != nil {
			t.Error(err)
		}
	})
	if err := wired.create(ctx, &evidence{}); err != nil {
		t.Fatal(err)
	}
	for _, c := range wired.crew {
		c.stop()
	}
	if err := wired.cluster.Save(ctx); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			d, known := defects[name]
			if !known {
				t.Fatal("nothing says where the scenario notices it")
			}
			if d.text == "" && name != "" {
				b, err := os.ReadFile(filepath.Join("../../checker/testdata/defects", name+".sql"))
				if err != nil {
					t.Fatal(err)
				}
				d.text = string(b)
			}
			res := wired.runDefect(t, d)
			for _, s := range res.Steps {
				if s.Status == Passed && s.Number != d.step {
					continue
				}
				switch {
				case s.Status == NotRun && d.step != 0 && s.Number > d.step:
				case s.Number != d.step:
					t.Errorf("step %d is %s", s.Number, s.Status)
				case s.Status != Failed || !d.named(strings.Join(s.Problems, "\n")):
					t.Errorf("step %d is %s: %v; want it to say %q", s.Number, s.Status, s.Problems, d.says)
				}
			}
			if res.Passed != (d.step == 0) {
				t.Errorf("passed: %t", res.Passed)
			}
		})
	}
}

// runDefect runs the scenario on the saved cluster, with a defect put in place of making a cluster.
func (s *scene) runDefect(t *testing.T, d defect) Result {
	t.Helper()
	one := newScene(s.cfg, testDeps(t), chaos.RecoverySQL{})
	one.cluster, one.engine, one.version = s.cluster, s.engine, s.version
	one.limits.advance, one.period, one.large = 8*time.Second, 250*time.Millisecond, 1500
	if d.equal != 0 {
		one.limits.equal = d.equal
	}
	steps := one.steps()
	steps[0].do = func(ctx context.Context, e *evidence) error {
		if err := s.cluster.Restore(ctx); err != nil {
			return err
		}
		for _, n := range one.names() {
			err := one.on(ctx, n, func(c *pgx.Conn) error { return sql.Install(ctx, c, one.engine.Name(), []byte(d.text)) })
			if err != nil {
				return fmt.Errorf("install a defect: %w", err)
			}
			one.manage(n)
		}
		e.fact("restored", true, "restored")
		return nil
	}
	res, err := one.run(context.Background(), steps, func(s Step) {
		if s.Status == Failed {
			logStep(t, s)
		}
	})
	one.cluster = nil // the next one's
	if cerr := one.close(); err == nil {
		err = cerr
	}
	if err != nil {
		t.Fatal(err)
	}
	return res
}
