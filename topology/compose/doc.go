// Package compose writes compose files of clusters (New, Cluster.Save) and reads them back (Load): one container and one
// network per node, and a container of our own image that holds every link. Attach borrows the containers that compose made of such a file.
//
// It imports topology, topology/link, topology/server, topology/engine, topology/mesh and topology/docker; chaos and cmd import it.
package compose
