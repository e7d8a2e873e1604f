-- A server's own rescue in miniature, on pglogical and the procedures in sql/: the functions, and the columns of the catalogs, by which --rescue native
-- drives one. What the manager worker of such a server does, the test does (see native_test.go).

CREATE VIEW spock.node AS SELECT node_id, node_name FROM pglogical.node;

CREATE TABLE spock.fake_rescue (id oid PRIMARY KEY, name text NOT NULL, source name NOT NULL, slot text NOT NULL, skip_lsn pg_lsn, stop_lsn pg_lsn,
    pending boolean NOT NULL DEFAULT false, failed boolean NOT NULL DEFAULT false);
CREATE TABLE spock.fake_suspended (name name PRIMARY KEY);
CREATE TABLE spock.fake_setting (clones boolean NOT NULL);
INSERT INTO spock.fake_setting VALUES (true);

CREATE VIEW spock.subscription AS
    SELECT sub_name, sub_origin, sub_slot_name, sub_enabled, sub_name IN (SELECT name FROM spock.fake_suspended) AS sub_rescue_suspended,
           false AS sub_rescue_temporary, NULL::pg_lsn AS sub_rescue_stop_lsn, false AS sub_rescue_cleanup_pending, false AS sub_rescue_failed
      FROM pglogical.subscription
    UNION ALL
    SELECT name::name, n.node_id, slot::name, true, false, true, stop_lsn, pending, failed
      FROM spock.fake_rescue f JOIN pglogical.node n ON n.node_name = f.source;

CREATE FUNCTION spock.clone_recovery_slot(target_restart_lsn pg_lsn DEFAULT NULL)
RETURNS TABLE (cloned_slot_name text, original_slot_name text, restart_lsn pg_lsn, success boolean, message text) LANGUAGE plpgsql AS $$
BEGIN
    original_slot_name := spock.recovery_slot_name();
    success := (SELECT clones FROM spock.fake_setting);
    message := 'No active recovery slot found for cloning';
    IF success THEN
        message := 'Successfully cloned';
        cloned_slot_name := 'spock_rescue_clone_' || to_char(clock_timestamp(), 'YYYYMMDDHH24MISSUS');
        PERFORM pg_copy_logical_replication_slot(original_slot_name::name, cloned_slot_name::name, false, 'pgoutput');
        restart_lsn := (SELECT s.restart_lsn FROM pg_replication_slots s WHERE s.slot_name = cloned_slot_name);
    END IF;
    RETURN NEXT;
END $$;

CREATE FUNCTION spock.suspend_all_peer_subs_for_rescue(node_id oid, failed_node_id oid) RETURNS boolean LANGUAGE sql AS $$
    INSERT INTO spock.fake_suspended SELECT sub_name FROM pglogical.subscription WHERE sub_origin <> $2 AND sub_enabled;
    SELECT pglogical.alter_subscription_disable(name, true) FROM spock.fake_suspended;
    SELECT true
$$;

CREATE FUNCTION spock.create_rescue_subscription(target_node name, source_node name, cloned_slot text, skip_lsn pg_lsn DEFAULT NULL,
    stop_lsn pg_lsn DEFAULT NULL, stop_timestamp timestamptz DEFAULT NULL) RETURNS oid LANGUAGE sql AS $$
    INSERT INTO spock.fake_rescue VALUES (4711, format('spock_rescue_sub_%s_%s', target_node, source_node), source_node, cloned_slot, skip_lsn, stop_lsn) RETURNING id
$$;

CREATE FUNCTION spock.resume_all_peer_subs_post_rescue(node_id oid) RETURNS boolean LANGUAGE sql AS $$
    SELECT pglogical.alter_subscription_enable(name, true) FROM spock.fake_suspended;
    DELETE FROM spock.fake_suspended;
    SELECT true
$$;

-- Where it is there, --rescue native calls it in place of the functions.
ALTER PROCEDURE spock.recovery RENAME TO recovery_as_it_was;
