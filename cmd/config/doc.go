// Package config is what a user may set for a run, and where it may come from:
// flags, then SPOCKCHAOS_* variables, then the file of --config, then defaults.
//
// Every setting is one pflag.Value: whatever its source, its text passes the
// same Set, so a value is good or bad in the same way everywhere. Errors name the
// source: the flag, the variable, or the file with its line.
package config
