// Package pglogical is the engine for pglogical 2.4: a full mesh of subscriptions,
// nothing forwarded, last update wins.
//
// What its adapter has to know of it: a slot and its replication origin are both
// called pgl_<database>_<provider>_<subscription>; the manager process starts an apply
// worker that failed no sooner than five seconds after the failure, unless the
// subscription was disabled and enabled meanwhile; a worker that fails before the manager has
// noticed its start (the provider refuses, say) takes the manager's wake-up with it, and the next
// try comes when the manager's timer ends, which grows from 10 to 180 seconds (see engine.Restart); apply workers have no receive
// timeout of their own, so a silent link is noticed by the provider alone (wal_sender_timeout);
// and of a provider's conninfo it overrides connect_timeout (30 s) and keepalives (20 s), leaving
// tcp_user_timeout.
package pglogical
