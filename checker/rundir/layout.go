package rundir

import (
	"fmt"
	"path/filepath"
)

// Names of the files in a run directory. Paths are relative to it.
//
//	run.json                          Run
//	cluster.json                      only while the cluster is up (mode 0600)
//	report.json, report.html          written by reports
//	rounds/001/round.json             Round
//	rounds/001/schedule.json          chaos/schedule.Round, with []PlannedFault as its faults
//	rounds/001/faults.jsonl           Fault, one per line, in the order they ended
//	rounds/001/events.jsonl           NodeEvent, one per line
//	rounds/001/samples.jsonl          Sample, one per line
//	rounds/001/observations.jsonl     Observation, one per line
//	rounds/001/rescues.jsonl          Rescue, one per line
//	rounds/001/explanations.jsonl     Explanation, one per line
//	rounds/001/history/<session>.hist workload/history files
//	rounds/001/final/<node>/<table>   row files (rows.go), one per table
const (
	RunFile     = "run.json"
	ClusterFile = "cluster.json"
	ReportJSON  = "report.json"
	ReportHTML  = "report.html"

	RoundFile        = "round.json"
	ScheduleFile     = "schedule.json"
	FaultsFile       = "faults.jsonl"
	EventsFile       = "events.jsonl"
	SamplesFile      = "samples.jsonl"
	ObservationsFile = "observations.jsonl"
	RescuesFile      = "rescues.jsonl"
	ExplanationsFile = "explanations.jsonl"
	HistoryDir       = "history"
	FinalDir         = "final"
)

// RoundDir is the directory of round n (1-based) in the run directory dir.
func RoundDir(dir string, n int) string {
	return filepath.Join(dir, "rounds", fmt.Sprintf("%03d", n))
}

// FinalTable is the row file of one table of one node's final snapshot.
func FinalTable(roundDir, node, table string) string {
	return filepath.Join(roundDir, FinalDir, node, table)
}
