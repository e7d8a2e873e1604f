// Package server is what every PostgreSQL server of a cluster that we make has in common, however it exists: database
// and superuser, settings, where its WAL begins, how a version is read.
//
// It imports topology/engine; topology/local and topology/docker import it.
package server
