// Package cli is the commands of spockchaos, one file each. Everything a command
// touches outside the run directory (streams, environment, clock, signals, the
// parts of the program that do the work) is in App, so that tests call commands
// in-process.
package cli
