// Package docker is a cluster of PostgreSQL nodes in containers: one container, one volume and one network per node, and
// one container that holds every link.
//
// It imports topology, topology/link/remote and topology/engine; chaos and cmd import it. moby.go alone knows the
// client of the container engine.
package docker
