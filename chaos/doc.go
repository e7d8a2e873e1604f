// Package chaos runs rounds: it brings a cluster up, lets the workload write,
// injects the schedule's faults, loses a node, runs the rescue, heals, waits for
// quiet and records everything in the run directory.
//
// Sub-packages: schedule (what happens when, from the seed), fault (one file per
// fault), watch (watcher, observers, final snapshots), scenario (the fixed course of
// test-recovery, on the same harness pieces).
// It imports workload, checker, topology and sql; only cmd and scenario import it.
package chaos
