// Package scenario is the test of recovery step by step: a fixed course of nine steps from a fresh cluster to a rescued
// one, each of which has to show evidence in numbers. `spockchaos test-recovery` runs it.
//
// A run (package chaos) looks for what nobody thought of; this shows that the ordinary course works, and where
// it does not. It imports chaos, checker/rundir, sql and topology; cmd imports it.
package scenario
