-- engine_pglogical.sql: what the other files must know of pglogical's catalogs.
--
-- An engine's file defines, and nothing else in sql/ may look at an engine's catalogs:
--   spock.recovery_node          this node: node_name, dsn
--   spock.recovery_peer          nodes that this node subscribes to
--   spock.recovery_origin        replication origins that show how far this node has come with a peer; the highest counts
--   spock.recovery_table         replicated tables with the actions that are replicated
--   spock.recovery_apply_worker  apply workers that run now: peer_node, pid
--   spock.recovery_delta_column  columns of tables here that the engine applies as differences: relid, column_name, apply_function (of
--                                old, new and local value, or null if the one that the column names does not exist)
--   spock.recovery_engine_prepare ()  what must be there before the recovery slot is made
--   spock.recovery_engine_disable / _enable / _drop (peer)
--   spock.recovery_engine_stop (peer, by_signal)  ends the apply worker of a disabled subscription, if disabling it does not: gently, or by a signal because
--                                it has not ended; the worker may end later than this. Returns what may come of it, null for nothing
--   spock.recovery_engine_add_table (relation)
--   spock.recovery_engine_rules (failed)  how the engine resolves conflicts with last_update_wins, where timestamps are not all

SET client_min_messages = warning;

CREATE OR REPLACE VIEW spock.recovery_node AS
    SELECT n.node_name::text AS node_name, i.if_dsn AS dsn
      FROM pglogical.local_node l
      JOIN pglogical.node n USING (node_id)
      JOIN pglogical.node_interface i ON i.if_id = l.node_local_interface;

-- dsn: how this node reaches the peer; slot_name: the slot on the peer; origin_name: the subscription's replication
-- origin on this node (in pglogical both have one name); commit_origin: the one that its commits carry.
CREATE OR REPLACE VIEW spock.recovery_peer AS
    SELECT n.node_name::text      AS peer_node,
           i.if_dsn               AS dsn,
           s.sub_slot_name::text  AS origin_name,
           s.sub_slot_name::text  AS commit_origin,
           s.sub_slot_name::text  AS slot_name,
           s.sub_name::text       AS subscription_name,
           s.sub_enabled          AS enabled
      FROM pglogical.subscription s
      JOIN pglogical.local_node l ON l.node_id = s.sub_target
      JOIN pglogical.node n ON n.node_id = s.sub_origin
      JOIN pglogical.node_interface i ON i.if_id = s.sub_origin_if;

CREATE OR REPLACE VIEW spock.recovery_origin AS
    SELECT peer_node, origin_name FROM spock.recovery_peer;

CREATE OR REPLACE VIEW spock.recovery_table AS
    SELECT t.set_reloid::oid                AS relid,
           bool_or(s.replicate_insert)      AS can_insert,
           bool_or(s.replicate_update)      AS can_update,
           bool_or(s.replicate_delete)      AS can_delete,
           bool_or(s.replicate_truncate)    AS can_truncate
      FROM pglogical.replication_set_table t
      JOIN pglogical.replication_set s USING (set_id)
      JOIN pglogical.local_node l ON l.node_id = s.set_nodeid
     GROUP BY t.set_reloid;

CREATE OR REPLACE VIEW spock.recovery_apply_worker AS
    SELECT n.node_name::text AS peer_node, a.pid
      FROM pglogical.subscription s
      JOIN pglogical.node n ON n.node_id = s.sub_origin
      JOIN pg_catalog.pg_stat_activity a
        ON a.datname = current_database()
       AND a.backend_type <> 'client backend'
       AND a.application_name = format('pglogical apply %s:%s', a.datid, s.sub_id);

CREATE OR REPLACE VIEW spock.recovery_delta_column AS
    SELECT NULL::oid AS relid, NULL::name AS column_name, NULL::regproc AS apply_function WHERE false;

CREATE OR REPLACE FUNCTION spock.recovery_engine_prepare() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
END $$;

-- Each of these four must run in a transaction of its own: workers act on what is committed.
CREATE OR REPLACE FUNCTION spock.recovery_engine_disable(peer text) RETURNS void LANGUAGE sql AS $$
    SELECT pglogical.alter_subscription_disable(subscription_name::name, true)
      FROM spock.recovery_peer WHERE peer_node = peer AND enabled
$$;

CREATE OR REPLACE FUNCTION spock.recovery_engine_stop(peer text, by_signal boolean) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    IF by_signal THEN
        PERFORM pg_terminate_backend(pid) FROM spock.recovery_apply_worker WHERE peer_node = peer;
    END IF;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION spock.recovery_engine_enable(peer text) RETURNS void LANGUAGE sql AS $$
    SELECT pglogical.alter_subscription_enable(subscription_name::name, true)
      FROM spock.recovery_peer WHERE peer_node = peer AND NOT enabled
$$;

-- Also drops the replication origin, and the node's entry when nothing else refers to it.
CREATE OR REPLACE FUNCTION spock.recovery_engine_drop(peer text) RETURNS void LANGUAGE sql AS $$
    SELECT pglogical.drop_subscription(subscription_name::name, true)
      FROM spock.recovery_peer WHERE peer_node = peer
$$;

-- recovery_engine_add_table replicates a table that has a primary key, with every action.
CREATE OR REPLACE FUNCTION spock.recovery_engine_add_table(relation regclass) RETURNS void LANGUAGE sql AS $$
    SELECT pglogical.replication_set_add_table('default', relation, false)
     WHERE NOT EXISTS (SELECT FROM spock.recovery_table WHERE relid = relation)
$$;

-- tie_wins: a change of failed's wins over a row of another node with the same commit timestamp. own_wins: and its updates over
-- its own rows, whatever the timestamps (a clock may be set back).
CREATE OR REPLACE FUNCTION spock.recovery_engine_rules(failed text, OUT tie_wins boolean, OUT own_wins boolean) LANGUAGE sql AS $$
    SELECT true, true
$$;

RESET client_min_messages;
