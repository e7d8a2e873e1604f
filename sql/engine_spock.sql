-- engine_spock.sql: what the other files must know of Spock's catalogs (5.0).
--
-- engine_pglogical.sql says what such a file has to define. Spock's commits carry the provider's node id as their origin, an
-- id that no replication origin of PostgreSQL's has: the subscription's origin (roident 1, 2, …) moves in memory and is saved by
-- checkpoints. So recovery after a crash replays progress under the node id, where pg_replication_origin_progress
-- does not find it, and pgoutput sends no Origin message. An origin of that id, spk_node_<id>, mends both.

SET client_min_messages = warning;

CREATE OR REPLACE VIEW spock.recovery_node AS
    SELECT n.node_name::text AS node_name, i.if_dsn AS dsn
      FROM spock.local_node l
      JOIN spock.node n USING (node_id)
      JOIN spock.node_interface i ON i.if_id = l.node_local_interface;

CREATE OR REPLACE VIEW spock.recovery_peer AS
    SELECT n.node_name::text      AS peer_node,
           i.if_dsn               AS dsn,
           s.sub_slot_name::text  AS origin_name,
           'spk_node_' || n.node_id AS commit_origin,
           s.sub_slot_name::text  AS slot_name,
           s.sub_name::text       AS subscription_name,
           s.sub_enabled          AS enabled
      FROM spock.subscription s
      JOIN spock.local_node l ON l.node_id = s.sub_target
      JOIN spock.node n ON n.node_id = s.sub_origin
      JOIN spock.node_interface i ON i.if_id = s.sub_origin_if;

CREATE OR REPLACE VIEW spock.recovery_origin AS
    SELECT peer_node, origin_name FROM spock.recovery_peer
    UNION ALL
    SELECT peer_node, commit_origin FROM spock.recovery_peer;

CREATE OR REPLACE VIEW spock.recovery_table AS
    SELECT t.set_reloid::oid                AS relid,
           bool_or(s.replicate_insert)      AS can_insert,
           bool_or(s.replicate_update)      AS can_update,
           bool_or(s.replicate_delete)      AS can_delete,
           bool_or(s.replicate_truncate)    AS can_truncate
      FROM spock.replication_set_table t
      JOIN spock.replication_set s USING (set_id)
      JOIN spock.local_node l ON l.node_id = s.set_nodeid
     GROUP BY t.set_reloid;

CREATE OR REPLACE VIEW spock.recovery_apply_worker AS
    SELECT n.node_name::text AS peer_node, a.pid
      FROM spock.subscription s
      JOIN spock.node n ON n.node_id = s.sub_origin
      JOIN pg_catalog.pg_stat_activity a
        ON a.datname = current_database()
       AND a.backend_type <> 'client backend'
       AND a.application_name = format('spock apply %s:%s', a.datid, s.sub_id);

-- Spock looks the function up by the column's own type, three times.
CREATE OR REPLACE VIEW spock.recovery_delta_column AS
    SELECT a.attrelid AS relid, a.attname AS column_name, to_regprocedure(format('%1$s(%2$s,%2$s,%2$s)', o.option_value, t.name))::regproc AS apply_function
      FROM pg_catalog.pg_attribute a
      CROSS JOIN LATERAL pg_catalog.pg_options_to_table(a.attoptions) o
      CROSS JOIN LATERAL pg_catalog.format_type(a.atttypid, NULL) t(name)
     WHERE o.option_name = 'delta_apply_function' AND NOT a.attisdropped;

-- Makes the origins of all known nodes. pg_replication_origin_create would choose the id itself.
CREATE OR REPLACE FUNCTION spock.recovery_engine_prepare() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    was text := current_setting('allow_system_table_mods');
BEGIN
    IF NOT EXISTS (SELECT FROM spock.node n LEFT JOIN pg_catalog.pg_replication_origin o ON o.roident = n.node_id WHERE o.roident IS NULL) THEN
        RETURN;
    END IF;
    -- Replication origins are shared by all databases: one session at a time.
    LOCK TABLE pg_catalog.pg_replication_origin IN SHARE ROW EXCLUSIVE MODE;
    PERFORM set_config('allow_system_table_mods', 'on', true);
    INSERT INTO pg_catalog.pg_replication_origin (roident, roname)
        SELECT n.node_id, 'spk_node_' || n.node_id
          FROM spock.node n LEFT JOIN pg_catalog.pg_replication_origin o ON o.roident = n.node_id WHERE o.roident IS NULL;
    PERFORM set_config('allow_system_table_mods', was, true);
END $$;

-- Each of these four must run in a transaction of its own: workers act on what is committed.
--
-- sub_disable, immediate or not, signals the apply worker, and Spock 5.0 leaves out for good the transaction in which a signal
-- stopped its worker (docs/findings.md, 5). A worker whose connection ends in the middle of one is sent it again. So the subscription is
-- disabled behind the worker's back, and then the peer ends the connection.
CREATE OR REPLACE FUNCTION spock.recovery_engine_disable(peer text) RETURNS void LANGUAGE sql AS $$
    UPDATE spock.subscription s SET sub_enabled = false
      FROM spock.recovery_peer p WHERE p.peer_node = peer AND s.sub_name = p.subscription_name AND s.sub_enabled
$$;

CREATE OR REPLACE FUNCTION spock.recovery_engine_stop(peer text, by_signal boolean) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    w   record;
    why text := 'it did not end with its connection';
BEGIN
    FOR w IN SELECT p.dsn, p.slot_name, a.pid FROM spock.recovery_peer p JOIN spock.recovery_apply_worker a USING (peer_node)
              WHERE p.peer_node = peer AND NOT p.enabled LOOP
        IF NOT by_signal THEN
            BEGIN
                PERFORM spock.recovery_connect('spk_stop', w.dsn);
                PERFORM spock.recovery_ask('spk_stop', format('SELECT count(pg_terminate_backend(active_pid)) FROM pg_replication_slots WHERE slot_name = %L', w.slot_name), '5 seconds');
                PERFORM spock.recovery_disconnect('spk_stop');
                CONTINUE;
            EXCEPTION WHEN OTHERS THEN
                why := SQLERRM;
            END;
            PERFORM spock.recovery_disconnect('spk_stop');
        END IF;
        PERFORM pg_terminate_backend(w.pid);
        RETURN format('the apply worker for %s was stopped by a signal (%s); if it was in the middle of a transaction, Spock may leave that out: look into spock.exception_log', peer, why);
    END LOOP;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION spock.recovery_engine_enable(peer text) RETURNS void LANGUAGE sql AS $$
    SELECT spock.sub_enable(subscription_name::name, true)
      FROM spock.recovery_peer WHERE peer_node = peer AND NOT enabled
$$;

-- Also drops both replication origins, and the node's entry when nothing else refers to it.
CREATE OR REPLACE FUNCTION spock.recovery_engine_drop(peer text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    p spock.recovery_peer;
BEGIN
    FOR p IN SELECT * FROM spock.recovery_peer WHERE peer_node = peer LOOP
        PERFORM spock.sub_drop(p.subscription_name::name, true);
        PERFORM pg_catalog.pg_replication_origin_drop(p.commit_origin)
          WHERE EXISTS (SELECT FROM pg_catalog.pg_replication_origin WHERE roname = p.commit_origin);
    END LOOP;
END $$;

-- recovery_engine_add_table replicates a table that has a primary key, with every action.
CREATE OR REPLACE FUNCTION spock.recovery_engine_add_table(relation regclass) RETURNS void LANGUAGE sql AS $$
    SELECT spock.repset_add_table('default', relation, false)
     WHERE NOT EXISTS (SELECT FROM spock.recovery_table WHERE relid = relation)
$$;

-- Of equal commit timestamps the node with the lower tiebreaker wins, out of this node and the one that a change comes from, wherever the
-- row here came from. A node's changes over its own rows go by the timestamps as well; of equal ones the later change wins.
CREATE OR REPLACE FUNCTION spock.recovery_engine_rules(failed text, OUT tie_wins boolean, OUT own_wins boolean) LANGUAGE sql AS $$
    SELECT coalesce((mine.info ->> 'tiebreaker')::int, mine.node_id::bigint) >= coalesce((theirs.info ->> 'tiebreaker')::int, theirs.node_id::bigint), false
      FROM spock.local_node l JOIN spock.node mine USING (node_id), spock.node theirs
     WHERE theirs.node_name = failed
$$;

RESET client_min_messages;
