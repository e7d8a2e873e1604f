-- 41_finalize.sql: after the replay the failed node leaves the cluster, here and on the other survivors.

SET client_min_messages = warning;

-- recovery_drop_peer_slot drops the slot from which a lost node used to read this one, if it is known and idle.
CREATE OR REPLACE FUNCTION spock.recovery_drop_peer_slot(failed text) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    PERFORM pg_drop_replication_slot(s.slot_name)
       FROM pg_replication_slots s JOIN spock.recovery_peer_slot k ON k.slot_name = s.slot_name
      WHERE k.peer_node = failed AND NOT s.active AND s.database = current_database();
    DELETE FROM spock.recovery_peer_slot WHERE peer_node = failed;
END $$;

-- recovery_drop_clones drops permanent clones that were made for one rescue and are not in use.
CREATE OR REPLACE FUNCTION spock.recovery_drop_clones(failed text, target text) RETURNS bigint LANGUAGE sql SET search_path = pg_catalog AS $$
    SELECT count(pg_drop_replication_slot(slot_name)) FROM pg_replication_slots
     WHERE starts_with(slot_name, spock.recovery_clone_name(failed, target)) AND NOT active AND NOT temporary AND database = current_database()
$$;

-- recovery_drop_peer removes a lost node from the node at conn.
CREATE OR REPLACE FUNCTION spock.recovery_drop_peer(conn text, failed text) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    PERFORM spock.recovery_ask(conn, format('SELECT spock.recovery_engine_drop(%L)', failed), '60 seconds');
    PERFORM spock.recovery_ask(conn, format('SELECT spock.recovery_drop_peer_slot(%L)', failed), '10 seconds');
END $$;

-- recovery_retire_elsewhere removes the failed node from the survivors that lack nothing, and from the source
-- last, when nobody needs it any more: the origin's name there is what a replay knows its transactions by.
CREATE OR REPLACE FUNCTION spock.recovery_retire_elsewhere(failed text, source text, target text, verb boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    s       json;
    o       json;
    v       record;
    way     text;
    pending text;
BEGIN
    SELECT a::json INTO s FROM spock.recovery_ask('spk_source', format('SELECT spock.recovery_survivor(%L)', failed), '10 seconds') a;
    IF NOT (s ->> 'subscribes')::boolean THEN
        RETURN; -- all was done before
    END IF;
    FOR v IN SELECT x.* FROM spock.recovery_ask('spk_source', format('SELECT to_jsonb(f) FROM spock.find_rescue_source(%L) f', failed), '60 seconds') a,
                  jsonb_to_record(a::jsonb) AS x(node_name text, role text, dsn text)
              WHERE x.node_name NOT IN (source, target) AND x.role <> 'none' LOOP
        BEGIN
            way := coalesce((SELECT dsn FROM spock.recovery_node WHERE node_name = v.node_name),
                            (SELECT dsn FROM spock.recovery_peer WHERE peer_node = v.node_name), v.dsn);
            IF v.role = 'unreachable' THEN
                RAISE EXCEPTION 'does not answer';
            END IF;
            IF v.role <> 'lagging' THEN
                PERFORM spock.recovery_open('spk_other', way, false);
                PERFORM spock.recovery_stop_peer('spk_other', failed);
                SELECT a::json INTO o FROM spock.recovery_ask('spk_other', format('SELECT spock.recovery_survivor(%L)', failed), '10 seconds') a;
                IF o ->> 'node' = v.node_name AND (o ->> 'progress')::pg_lsn = (s ->> 'progress')::pg_lsn THEN
                    PERFORM spock.recovery_drop_peer('spk_other', failed);
                    PERFORM spock.recovery_say(verb, format('%s removed from %s, which lacked nothing', failed, v.node_name));
                ELSE
                    RAISE EXCEPTION 'has % up to %, the source up to %', failed, o ->> 'progress', s ->> 'progress';
                END IF;
            ELSE
                RAISE EXCEPTION 'lags and is to be rescued too';
            END IF;
        EXCEPTION WHEN OTHERS THEN
            pending := concat_ws('; ', pending, format('%s: %s', v.node_name, SQLERRM));
        END;
        PERFORM spock.recovery_disconnect('spk_other');
    END LOOP;
    IF pending IS NULL THEN
        PERFORM spock.recovery_stop_peer('spk_source', failed);
        PERFORM spock.recovery_drop_peer('spk_source', failed);
        PERFORM spock.recovery_say(verb, format('%s removed from the source %s', failed, source));
    ELSE
        RAISE NOTICE 'the source % keeps % for now (%)', source, failed, pending;
    END IF;
END $$;

-- recover_finalize resumes what is still suspended, removes the failed node from the target, drops clones, and removes the
-- failed node from every survivor that does not need it any more. It may be called again.
CREATE OR REPLACE PROCEDURE spock.recover_finalize(failed_node_name text, source_node_name text, source_dsn text, target_node_name text, target_dsn text,
    verb boolean DEFAULT false, accept_partial boolean DEFAULT false)
LANGUAGE plpgsql AS $$
DECLARE
    t    json;
    step text;
BEGIN
    PERFORM spock.recovery_open('spk_target', target_dsn, true);
    SELECT a::json INTO t FROM spock.recovery_ask('spk_target', format('SELECT spock.recovery_survivor(%L)', failed_node_name), '10 seconds') a;
    SELECT a INTO step FROM spock.recovery_ask('spk_target', format(
        'SELECT step FROM spock.recovery_run WHERE failed_node = %L ORDER BY id DESC LIMIT 1', failed_node_name), '10 seconds') a;
    IF t ->> 'node' IS DISTINCT FROM target_node_name THEN
        PERFORM spock.recovery_disconnect('spk_target');
        RAISE EXCEPTION 'target_dsn leads to node %, not to %', t ->> 'node', target_node_name USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM spock.recovery_ask('spk_target', format('SELECT spock.recovery_resume(%L)', failed_node_name), '20 seconds');
    IF (t ->> 'subscribes')::boolean THEN
        IF step IS DISTINCT FROM 'replayed' AND NOT (accept_partial AND step = 'stopped') THEN
            PERFORM spock.recovery_disconnect('spk_target');
            RAISE EXCEPTION 'the replay of % on % is not complete (step %)', failed_node_name, target_node_name, coalesce(step, 'none')
                USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'CALL spock.recover_run(…) first.';
        END IF;
        PERFORM spock.recovery_drop_peer('spk_target', failed_node_name);
        PERFORM spock.recovery_say(verb, format('%s removed from the target %s', failed_node_name, target_node_name));
    END IF;
    PERFORM spock.recovery_ask('spk_target', format(
        'UPDATE spock.recovery_run SET step = ''done'', finished_at = coalesce(finished_at, clock_timestamp()) WHERE failed_node = %L AND step <> ''done''',
        failed_node_name), '10 seconds');
    PERFORM spock.recovery_disconnect('spk_target');
    COMMIT;

    -- The target is rescued. What is left is tidying up; a call made later does what cannot be done now.
    BEGIN
        PERFORM spock.recovery_open('spk_source', source_dsn, false);
        PERFORM spock.recovery_ask('spk_source', format('SELECT spock.recovery_drop_clones(%L, %L)', failed_node_name, target_node_name), '10 seconds');
        PERFORM spock.recovery_retire_elsewhere(failed_node_name, source_node_name, target_node_name, verb);
    EXCEPTION WHEN OTHERS THEN
        RAISE WARNING '% is not removed from every survivor yet: %', failed_node_name, SQLERRM;
    END;
    PERFORM spock.recovery_disconnect('spk_source');
END $$;

RESET client_min_messages;
