package reports

import (
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"

	"github.com/spockchaos/spockchaos/checker"
	"github.com/spockchaos/spockchaos/checker/rundir"
)

// WriteJSON writes report.json.
func WriteJSON(w io.Writer, rep *Report) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	if err := enc.Encode(rep); err != nil {
		return fmt.Errorf("writing the report as JSON: %w", err)
	}
	return nil
}

// Write builds the report of a run directory and saves it there as report.json and
// report.html. A nil result makes the report that is saved before the check.
func Write(dir string, res *checker.Result) error {
	rep, err := Build(dir, res)
	if err != nil {
		return err
	}
	return Save(dir, rep)
}

// Save writes a report into its run directory, each file whole or not at all.
func Save(dir string, rep *Report) error { return save(dir, rep, maxDetailed) }

// SaveInterim is Save for a run that goes on: the page shows the newest rounds only,
// so that saving after every round costs the same in the first hour and the tenth.
func SaveInterim(dir string, rep *Report) error { return save(dir, rep, maxInterim) }

func save(dir string, rep *Report, detailed int) error {
	if err := rundir.WriteJSON(filepath.Join(dir, rundir.ReportJSON), rep); err != nil {
		return err
	}
	return rundir.WriteFile(filepath.Join(dir, rundir.ReportHTML), func(w io.Writer) error { return writeHTML(w, dir, rep, detailed) })
}
