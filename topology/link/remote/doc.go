// Package remote holds links in another process and drives them from here: Serve is that process (`spockchaos
// proxy`, in a container of its own), Dial its client, whose links are topology.Links.
//
// Between them is a small HTTP API. It says nothing twice that link says: a gate is changed by
// compare-and-swap, so that what faults add and take away stays composed by whoever drives the links.
package remote
