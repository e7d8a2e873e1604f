// Package reports turns a run directory and the checker's result into
// report.json and a self-contained report.html. Only cmd imports it.
package reports
