-- 41_finalize.sql: after the replay the failed node leaves the cluster, here and on the other survivors.

SET client_min_messages = warning;

DROP FUNCTION IF EXISTS spock.recovery_drop_peer_slot(text); -- of version 1

-- recovery_prepare_leave notes what this node has of a lost node, for recovery_leave. It must be committed before that begins.
CREATE OR REPLACE FUNCTION spock.recovery_prepare_leave(failed text) RETURNS void LANGUAGE sql SET search_path = pg_catalog AS $$
    INSERT INTO spock.recovery_leaving AS l (peer_node, progress) SELECT origin_node, remote_lsn FROM spock.recovery_progress() WHERE origin_node = failed
        ON CONFLICT (peer_node) DO UPDATE SET progress = excluded.progress
$$;

-- recovery_leave removes a lost node from this one and ends the rescue of it, all or nothing. Two things cannot be taken back
-- when the transaction fails: the slot from which the lost node read (nobody needs it any more), and, last of
-- all, the progress of its origin, which recovery_prepare_leave has noted.
CREATE OR REPLACE FUNCTION spock.recovery_leave(failed text) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    slot text;
BEGIN
    IF EXISTS (SELECT FROM spock.recovery_progress() p LEFT JOIN spock.recovery_leaving l ON l.peer_node = p.origin_node
                WHERE p.origin_node = failed AND (l.peer_node IS NULL OR l.progress IS DISTINCT FROM p.remote_lsn)) THEN
        RAISE EXCEPTION 'what this node has of % is not noted', failed USING ERRCODE = 'object_not_in_prerequisite_state',
            HINT = 'SELECT spock.recovery_prepare_leave(…) first, in a transaction of its own.';
    END IF;
    UPDATE spock.recovery_run SET step = 'done', finished_at = coalesce(finished_at, clock_timestamp()) WHERE failed_node = failed AND step <> 'done';
    DELETE FROM spock.recovery_leaving WHERE peer_node = failed;
    DELETE FROM spock.recovery_peer_slot WHERE peer_node = failed RETURNING slot_name INTO slot;
    -- A walsender that has not noticed the loss yet still has the slot.
    PERFORM pg_terminate_backend(active_pid, 5000) FROM pg_replication_slots WHERE slot_name = slot AND active AND database = current_database();
    PERFORM pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = slot AND database = current_database();
    PERFORM spock.recovery_engine_drop(failed);
END $$;

-- recovery_drop_clones drops permanent clones that were made for one rescue and are not in use.
CREATE OR REPLACE FUNCTION spock.recovery_drop_clones(failed text, target text) RETURNS bigint LANGUAGE sql SET search_path = pg_catalog AS $$
    SELECT count(pg_drop_replication_slot(slot_name)) FROM pg_replication_slots
     WHERE starts_with(slot_name, spock.recovery_clone_name(failed, target)) AND NOT active AND NOT temporary AND database = current_database()
$$;

-- recovery_drop_peer removes a lost node from the node at conn, and ends the rescue of that node.
CREATE OR REPLACE FUNCTION spock.recovery_drop_peer(conn text, failed text) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    PERFORM spock.recovery_ask(conn, format('SELECT spock.recovery_prepare_leave(%L)', failed), '10 seconds');
    PERFORM spock.recovery_ask(conn, format('SELECT spock.recovery_leave(%L)', failed), '60 seconds');
END $$;

-- recovery_retire removes the failed node from every survivor, the source last, once nobody lacks anything of it.
-- Not before: a node without a subscription to it no longer holds its recovery slot for those who
-- lag, and the origin's name on the source is what a replay knows the transactions by.
CREATE OR REPLACE FUNCTION spock.recovery_retire(failed text, source text, verb boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    s       json;
    o       json;
    v       record;
    found   jsonb := '[]';
    lagging text;
    bad     text;
BEGIN
    SELECT a::json INTO s FROM spock.recovery_ask('spk_source', format('SELECT spock.recovery_survivor(%L)', failed), '10 seconds') a;
    IF NOT (s ->> 'subscribes')::boolean THEN
        RETURN; -- all was done before
    END IF;
    FOR v IN SELECT x.* FROM spock.recovery_ask('spk_source', format('SELECT to_jsonb(f) FROM spock.find_rescue_source(%L) f', failed), '60 seconds') a,
                  jsonb_to_record(a::jsonb) AS x(node_name text, role text, dsn text)
              WHERE x.node_name <> source AND x.role <> 'none' LOOP
        lagging := concat_ws(', ', nullif(lagging, ''), CASE v.role WHEN 'lagging' THEN v.node_name END);
        bad := concat_ws(', ', nullif(bad, ''), CASE v.role WHEN 'unreachable' THEN v.node_name END);
        found := found || jsonb_build_array(jsonb_build_object('name', v.node_name, 'dsn',
            coalesce((SELECT dsn FROM spock.recovery_node WHERE node_name = v.node_name),
                     (SELECT dsn FROM spock.recovery_peer WHERE peer_node = v.node_name), v.dsn)));
    END LOOP;
    IF bad <> '' THEN
        RAISE WARNING '% is not removed from the survivors: no answer from %', failed, bad;
    END IF;
    IF lagging <> '' THEN
        RAISE NOTICE '% stays on the survivors until % is rescued too', failed, lagging;
    END IF;
    IF bad <> '' OR lagging <> '' THEN
        RETURN;
    END IF;
    FOR v IN SELECT * FROM jsonb_to_recordset(found) AS x(name text, dsn text) LOOP
        BEGIN
            PERFORM spock.recovery_open('spk_other', v.dsn, false);
            PERFORM spock.recovery_stop_peer('spk_other', failed);
            SELECT a::json INTO o FROM spock.recovery_ask('spk_other', format('SELECT spock.recovery_survivor(%L)', failed), '10 seconds') a;
            IF o ->> 'node' = v.name AND (o ->> 'progress')::pg_lsn = (s ->> 'progress')::pg_lsn THEN
                PERFORM spock.recovery_drop_peer('spk_other', failed);
                PERFORM spock.recovery_say(verb, format('%s removed from %s', failed, v.name));
            ELSE
                RAISE EXCEPTION 'has % up to %, the source up to %', failed, o ->> 'progress', s ->> 'progress';
            END IF;
        EXCEPTION WHEN OTHERS THEN
            bad := concat_ws('; ', nullif(bad, ''), format('%s: %s', v.name, SQLERRM));
        END;
        PERFORM spock.recovery_disconnect('spk_other');
    END LOOP;
    IF bad <> '' THEN
        RAISE WARNING '% is not removed from every survivor: %', failed, bad USING HINT = 'Call it again; the source keeps the node until then.';
    ELSE
        PERFORM spock.recovery_stop_peer('spk_source', failed);
        PERFORM spock.recovery_drop_peer('spk_source', failed);
        PERFORM spock.recovery_say(verb, format('%s removed from the source %s', failed, source));
    END IF;
END $$;

-- recover_finalize resumes what is still suspended and drops clones; when no survivor lacks anything of the failed node any more, it
-- removes it from all of them. A partial rescue that is accepted removes it from the target at once. It may be called again.
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
        IF step = 'stopped' THEN
            PERFORM spock.recovery_drop_peer('spk_target', failed_node_name);
            PERFORM spock.recovery_say(verb, format('%s removed from the target %s', failed_node_name, target_node_name));
        END IF;
    ELSIF step = 'replayed' THEN -- somebody else dropped the subscription
        PERFORM spock.recovery_drop_peer('spk_target', failed_node_name);
    END IF;
    PERFORM spock.recovery_disconnect('spk_target');
    COMMIT;

    -- The target is rescued. What is left is tidying up; a call made later does what cannot be done now.
    BEGIN
        PERFORM spock.recovery_open('spk_source', source_dsn, false);
        PERFORM spock.recovery_ask('spk_source', format('SELECT spock.recovery_drop_clones(%L, %L)', failed_node_name, target_node_name), '10 seconds');
        PERFORM spock.recovery_retire(failed_node_name, source_node_name, verb);
    EXCEPTION WHEN OTHERS THEN
        RAISE WARNING '% is not removed from every survivor: %', failed_node_name, SQLERRM USING HINT = 'Call it again.';
    END;
    PERFORM spock.recovery_disconnect('spk_source');
END $$;

RESET client_min_messages;
