// Package attach takes servers that run already, whoever made them: it connects to each by its DSN, finds which engine it has and makes
// sure that it is the node it should be and has the recovery procedures of this version.
//
// It imports sql, topology/mesh and topology/engine/engines; chaos and cmd import it.
package attach
