// Package cmd holds the program: spockchaos (main), cli (its commands), config
// (flags, environment, file) and live (the block that a terminal shows while a
// run is on).
//
// It imports chaos, checker, reports and topology; nothing imports it.
package cmd
