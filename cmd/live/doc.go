// Package live is the block that a terminal shows while a run is on: Render turns
// a status into lines, Screen keeps them at the bottom of a terminal while log
// lines pass above them.
package live
