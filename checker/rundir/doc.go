// Package rundir is the contract between the program that makes a run and the
// program that judges it: the files of a run directory and the records in them.
//
// chaos writes these records while a run is on; checker and reports read them
// later, maybe on another machine. The package therefore imports nothing of
// this module but workload/history (the framing of its row files), and may be
// imported by chaos, checker, reports and cmd.
package rundir
