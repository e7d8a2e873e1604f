// Package spock is the engine for pgEdge Spock 5: a full mesh of subscriptions, nothing forwarded, last update wins.
// Spock descends from pglogical and has kept its catalogs, so the adapter is pglogical's with other names.
//
// What differs (seen on 5.0.11): a slot and the subscription's replication origin are both called
// spk_<database>_<provider>_<subscription>, and so is the walsender. Transactions are applied with the provider's node id as their
// origin: commit records and commit timestamps carry it, while the subscription's origin moves in memory and at checkpoints
// only. After a crash of the subscriber what recovery has replayed is therefore found under the node id; sql/engine_spock.sql
// gives that origin a name, spk_node_<node id>.
//
// It may import topology/engine and topology/engine/pglogical; chaos and cmd import it.
package spock
