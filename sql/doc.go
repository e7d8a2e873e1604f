// Package sql holds recovery slot tracking and the rescue as plain SQL files,
// embedded here and each usable with psql alone, and installs them on a node.
//
// It imports nothing of this module; topology, chaos and cmd import it.
package sql
