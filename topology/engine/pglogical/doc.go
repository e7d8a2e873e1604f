// Package pglogical is the engine.Engine of 2ndQuadrant's pglogical 2.4, on
// PostgreSQL 15 to 18: a full mesh, nothing forwarded, the last update wins.
//
// It imports topology/engine; chaos, cmd and tests of topology import it.
package pglogical
