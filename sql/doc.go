// Package sql holds recovery slot tracking and the rescue as plain SQL files,
// embedded here and each usable with psql alone, and installs them on a node.
//
// engine_<engine>.sql hides an engine's catalogs from the other files; a new
// engine needs such a file and nothing else. docs/recovery.md is for operators.
//
// It imports nothing of this module; topology, chaos and cmd import it.
package sql
