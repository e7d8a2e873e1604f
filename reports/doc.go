// Package reports turns a run directory and the checker's result into
// report.json and a self-contained report.html. Only cmd imports it.
//
// Report is the schema of report.json: other tools rely on its names, so fields
// are added and never renamed, every field is always there, and lists are never
// null. The page is drawn from a Report and from series that are read from the
// samples in one pass, in memory that does not grow with their number.
package reports
