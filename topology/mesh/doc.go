// Package mesh wires the nodes of a cluster that is up (Setup) and looks whether they are a mesh (Check), however the
// nodes exist: all it knows of them are members, conninfos and an engine.
//
// It imports topology, topology/engine, topology/server and sql; cmd imports it.
package mesh
