// Package compose writes compose files of clusters (New, File.Save) and reads them back (Load): one container and one
// network per node, and a container of our own image that holds every link. It talks to no container engine.
//
// It imports topology, topology/link, topology/server and topology/engine; cmd imports it.
package compose
