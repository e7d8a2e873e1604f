-- 40_rescue.sql: the rescue, from a coordinator that reaches source and target.
--
-- What a rescue has done is written down on the target (spock.recovery_run), so any coordinator can go on where
-- another was interrupted. 41_finalize.sql ends it; docs/recovery.md tells every step.

SET client_min_messages = warning;

-- recovery_open connects to the target of a rescue and makes this the only rescue of that
-- node: the lock lives as long as the connection. An interrupted rescue's session there ends within a second.
CREATE OR REPLACE FUNCTION spock.recovery_open(conn text, dsn text, exclusive boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    deadline timestamptz := clock_timestamp() + interval '15 seconds';
BEGIN
    PERFORM spock.recovery_connect(conn, dsn);
    PERFORM spock.recovery_ask(conn, 'SELECT spock.recovery_session()', '10 seconds');
    IF exclusive THEN
        WHILE (SELECT a FROM spock.recovery_ask(conn, 'SELECT pg_try_advisory_lock(hashtext(''spock.recovery''), 0)') a) <> 't' LOOP
            IF clock_timestamp() > deadline THEN
                PERFORM spock.recovery_disconnect(conn);
                RAISE EXCEPTION '%: another rescue of that node is in flight', conn USING ERRCODE = 'object_in_use';
            END IF;
            PERFORM pg_sleep(0.2);
        END LOOP;
    END IF;
END $$;

-- recovery_stop_peer disables the subscription to peer on the node at conn and waits until its apply worker is gone. Returns what may come of that.
CREATE OR REPLACE FUNCTION spock.recovery_stop_peer(conn text, peer text) RETURNS text LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    began timestamptz := clock_timestamp();
    note  text;
BEGIN
    PERFORM spock.recovery_ask(conn, format('SELECT spock.recovery_engine_disable(%L)', peer), '20 seconds');
    LOOP -- a worker that was just about to connect is to be asked again; after 5 s it waits for something, and is not to go on
        SELECT coalesce(a, note) INTO note FROM spock.recovery_ask(conn, format('SELECT spock.recovery_engine_stop(%L, %L)',
            peer, clock_timestamp() - began > interval '5 seconds'), '20 seconds') a;
        EXIT WHEN (SELECT a FROM spock.recovery_ask(conn, format(
            'SELECT count(*) FROM spock.recovery_apply_worker WHERE peer_node = %L', peer), '10 seconds') a) = '0';
        IF clock_timestamp() - began > interval '30 seconds' THEN
            RAISE EXCEPTION '%: the apply worker for % does not end', conn, peer;
        END IF;
        PERFORM pg_sleep(0.05);
    END LOOP;
    RETURN note;
END $$;

-- recovery_checks looks whether a rescue can work, over connections that are open.
CREATE OR REPLACE FUNCTION spock.recovery_checks(failed text, source text, target text, source_conn text, target_conn text)
RETURNS TABLE (check_name text, status text, detail text) LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    s json;
    t json;
BEGIN
    SELECT a::json INTO s FROM spock.recovery_ask(source_conn, format('SELECT spock.recovery_survivor(%L)', failed), '10 seconds') a;
    SELECT a::json INTO t FROM spock.recovery_ask(target_conn, format('SELECT spock.recovery_survivor(%L)', failed), '10 seconds') a;
    RETURN QUERY SELECT v.name, CASE WHEN v.good THEN 'ok' ELSE v.otherwise END, v.says FROM (VALUES
        ('three nodes', failed <> source AND failed <> target AND source <> target, 'error', concat_ws(', ', failed, source, target)),
        ('source name', s ->> 'node' = source, 'error', format('the source''s address is answered by %s', s ->> 'node')),
        ('target name', t ->> 'node' = target, 'error', format('the target''s address is answered by %s', t ->> 'node')),
        ('file version', s ->> 'files' = t ->> 'files' AND (s ->> 'files')::int = spock.recovery_files_version(), 'error',
            format('source %s, target %s, here %s', s ->> 'files', t ->> 'files', spock.recovery_files_version())),
        ('server version', s ->> 'server' = t ->> 'server', 'warning', format('source %s, target %s', s ->> 'server', t ->> 'server')),
        ('source knows the failed node', (s ->> 'subscribes')::boolean, 'error', coalesce(s ->> 'origin', 'it has no subscription to it')),
        ('target knows the failed node', (t ->> 'subscribes')::boolean, 'error', coalesce(t ->> 'origin', 'it has no subscription to it')),
        ('recovery slot', s ->> 'position' IS NOT NULL AND s ->> 'wal_status' <> 'lost', 'error',
            CASE WHEN s ->> 'position' IS NULL THEN 'does not exist' ELSE format('at %s, WAL %s', s ->> 'position', s ->> 'wal_status') END),
        ('publications', (s ->> 'publications')::int = 2, 'error', format('%s of 2 on the source', s ->> 'publications')),
        ('free slot', (s ->> 'free_slots')::int > 0, 'error', format('%s on the source', s ->> 'free_slots')),
        ('commit timestamps', t ->> 'timestamps' = 'on', 'warning', format('track_commit_timestamp %s on the target', t ->> 'timestamps')),
        ('something to replay', coalesce((t ->> 'progress')::pg_lsn, '0/0') < coalesce((s ->> 'progress')::pg_lsn, '0/0'), 'ok',
            format('source has up to %s, target up to %s', s ->> 'progress', t ->> 'progress'))
        ) v(name, good, otherwise, says);
    RETURN QUERY SELECT 'WAL still there', CASE a WHEN 't' THEN 'ok' ELSE 'error' END,
            CASE a WHEN 't' THEN 'nothing says otherwise' ELSE 'the recovery slot has passed transactions that the target lacks' END
      FROM spock.recovery_ask(source_conn, format('SELECT spock.recovery_covers(%L, %L)', failed, t ->> 'progress'), '10 seconds') a;
    RETURN QUERY SELECT 'survivor ' || (a::json ->> 'node_name'),
            CASE WHEN a::json ->> 'role' = 'unreachable' THEN 'warning'
                 WHEN (a::json ->> 'progress')::pg_lsn > (s ->> 'progress')::pg_lsn THEN 'error' ELSE 'ok' END,
            CASE WHEN a::json ->> 'role' = 'unreachable' THEN 'does not answer; it may have more than the source'
                 WHEN (a::json ->> 'progress')::pg_lsn > (s ->> 'progress')::pg_lsn THEN 'has more than the source: rescue from it first'
                 ELSE a::json ->> 'role' END
      FROM spock.recovery_ask(source_conn, format('SELECT to_jsonb(f) FROM spock.find_rescue_source(%L) f', failed), '40 seconds') a
     WHERE a::json ->> 'node_name' NOT IN (source, target);
END $$;

-- recover_precheck looks whether a rescue can work; it changes nothing. Rows with status error forbid it.
CREATE OR REPLACE FUNCTION spock.recover_precheck(failed_node_name text, source_node_name text, source_dsn text, target_node_name text, target_dsn text)
RETURNS TABLE (check_name text, status text, detail text) LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    PERFORM spock.recovery_open('spk_check_source', source_dsn, false), spock.recovery_open('spk_check_target', target_dsn, false);
    RETURN QUERY SELECT * FROM spock.recovery_checks(failed_node_name, source_node_name, target_node_name, 'spk_check_source', 'spk_check_target');
    RETURN QUERY SELECT 'no other rescue', CASE WHEN a = '0' THEN 'ok' ELSE 'error' END, a || ' in flight on the target'
      FROM spock.recovery_ask('spk_check_target',
        'SELECT count(*) FROM pg_locks WHERE locktype = ''advisory'' AND classid = hashtext(''spock.recovery'')::oid AND objid = 0 AND granted') a;
    PERFORM spock.recovery_disconnect('spk_check_source'), spock.recovery_disconnect('spk_check_target');
EXCEPTION WHEN OTHERS THEN
    PERFORM spock.recovery_disconnect('spk_check_source'), spock.recovery_disconnect('spk_check_target');
    RAISE;
END $$;

-- recovery_begin, on the target: the run to go on with (or a new one) as JSON; step done if there is nothing left to do here.
CREATE OR REPLACE FUNCTION spock.recovery_begin(failed text, source text, stop_at pg_lsn, skip_at pg_lsn, stop_time timestamptz) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    known boolean := EXISTS (SELECT FROM spock.recovery_peer WHERE peer_node = failed);
    run   spock.recovery_run;
BEGIN
    SELECT * INTO run FROM spock.recovery_run WHERE failed_node = failed ORDER BY id DESC LIMIT 1;
    IF NOT known AND run.step IN ('done', 'replayed') THEN
        RETURN to_jsonb(run) || '{"step": "done"}';
    ELSIF NOT known THEN
        RAISE EXCEPTION 'this node has no subscription to %, and no finished rescue', failed USING ERRCODE = 'undefined_object';
    ELSIF run.id IS NULL OR run.step = 'done' THEN
        INSERT INTO spock.recovery_run (failed_node, source_node, step, stop_lsn, skip_lsn, stop_timestamp)
            VALUES (failed, source, 'started', stop_at, skip_at, stop_time) RETURNING * INTO run;
    ELSE
        UPDATE spock.recovery_run SET source_node = source, stop_lsn = stop_at, skip_lsn = skip_at, stop_timestamp = stop_time, last_error = NULL
         WHERE id = run.id RETURNING * INTO run;
    END IF;
    RETURN to_jsonb(run);
END $$;

-- recovery_suspend, on the target: writes down which other subscriptions are about to be disabled, before they are.
CREATE OR REPLACE FUNCTION spock.recovery_suspend(run_id bigint, stop pg_lsn, has pg_lsn) RETURNS SETOF text LANGUAGE sql SET search_path = pg_catalog AS $$
    UPDATE spock.recovery_run r
       SET step = 'suspended', stop_position = stop, source_progress = has,
           suspended = array(SELECT unnest(r.suspended) UNION SELECT peer_node FROM spock.recovery_peer WHERE enabled AND peer_node <> r.failed_node)
     WHERE id = run_id RETURNING to_json(suspended)::text
$$;

-- recovery_resume, on the target: enables what was suspended, and forgets it, at once.
CREATE OR REPLACE FUNCTION spock.recovery_resume(failed text) RETURNS void LANGUAGE sql SET search_path = pg_catalog AS $$
    SELECT spock.recovery_engine_enable(p) FROM (SELECT DISTINCT unnest(suspended) AS p FROM spock.recovery_run WHERE failed_node = failed) s;
    UPDATE spock.recovery_run SET suspended = '{}' WHERE failed_node = failed AND suspended <> '{}';
$$;

-- recovery_say is what verb asks for.
CREATE OR REPLACE FUNCTION spock.recovery_say(verb boolean, what text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF verb THEN
        RAISE NOTICE '%', what;
    END IF;
END $$;

-- recovery_ready_source stops the failed node's subscription on both sides, suspends the target's others, and
-- returns the run as JSON. After it the source's progress for the failed node is final.
CREATE OR REPLACE FUNCTION spock.recovery_stop_and_suspend(run json, failed text, verb boolean) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    a    json;
    p    text;
    note text;
BEGIN
    PERFORM spock.recovery_say(verb, format('stopping the subscriptions to %s on source and target', failed));
    PERFORM spock.recovery_stop_peer('spk_target', failed);
    PERFORM spock.recovery_stop_peer('spk_source', failed);
    -- recovery_progress flushes the commits that it counts, so the position read after it is behind them all.
    SELECT x::json INTO a FROM spock.recovery_ask('spk_source', format('SELECT spock.recovery_survivor(%L)', failed), '20 seconds') x;
    a := json_build_object('has', a ->> 'progress', 'stop', (SELECT x FROM spock.recovery_ask('spk_source', 'SELECT pg_current_wal_flush_lsn()') x));
    PERFORM spock.recovery_say(verb, format('source has %s up to %s; reading its WAL up to %s', failed, a ->> 'has', a ->> 'stop'));
    FOR p IN SELECT json_array_elements_text(x::json) FROM spock.recovery_ask('spk_target', format(
                 'SELECT * FROM spock.recovery_suspend(%s, %L, %L)', run ->> 'id', a ->> 'stop', a ->> 'has'), '20 seconds') x LOOP
        PERFORM spock.recovery_say(verb, format('suspending the target''s subscription to %s', p));
        note := spock.recovery_stop_peer('spk_target', p);
        IF note IS NOT NULL THEN
            RAISE WARNING '%', note;
        END IF;
    END LOOP;
END $$;

-- recover_run replays on the target what it lacks of the failed node. It may be called again, from anywhere, after any
-- interruption. It must be called outside a transaction block.
CREATE OR REPLACE PROCEDURE spock.recover_run(failed_node_name text, source_node_name text, source_dsn text, target_node_name text, target_dsn text,
    stop_lsn pg_lsn DEFAULT NULL, skip_lsn pg_lsn DEFAULT NULL, stop_timestamp timestamptz DEFAULT NULL, verb boolean DEFAULT false)
LANGUAGE plpgsql AS $$
DECLARE
    run     json;
    bad     text;
    failure text;
    state   text;
    result  text;
    ready   boolean;
    silent  int;
    c       record;
BEGIN
    PERFORM spock.recovery_open('spk_target', target_dsn, true);
    BEGIN
        SELECT a::json INTO run FROM spock.recovery_ask('spk_target', 'SELECT json_build_object(''node'', node_name) FROM spock.recovery_node', '10 seconds') a;
        IF run ->> 'node' IS DISTINCT FROM target_node_name THEN
            RAISE EXCEPTION 'target_dsn leads to node %, not to %', run ->> 'node', target_node_name USING ERRCODE = 'invalid_parameter_value';
        END IF;
        SELECT a::json INTO run FROM spock.recovery_ask('spk_target', format('SELECT spock.recovery_begin(%L, %L, %L, %L, %L)',
            failed_node_name, source_node_name, stop_lsn, skip_lsn, stop_timestamp), '20 seconds') a;
        IF run ->> 'step' = 'done' THEN
            RAISE NOTICE '% has been rescued from the loss of % already: % transactions', target_node_name, failed_node_name, run ->> 'transactions';
            PERFORM spock.recovery_ask('spk_target', format('SELECT spock.recovery_resume(%L)', failed_node_name), '20 seconds');
            PERFORM spock.recovery_disconnect('spk_target');
            RETURN;
        END IF;
        PERFORM spock.recovery_open('spk_source', source_dsn, false);
        FOR c IN SELECT * FROM spock.recovery_checks(failed_node_name, source_node_name, target_node_name, 'spk_source', 'spk_target') LOOP
            PERFORM spock.recovery_say(verb OR c.status = 'warning', format('check %s: %s (%s)', c.check_name, c.status, c.detail));
            bad := concat_ws('; ', nullif(bad, ''), CASE c.status WHEN 'error' THEN format('%s: %s', c.check_name, c.detail) END);
        END LOOP;
        IF bad <> '' THEN
            RAISE EXCEPTION 'rescue of % from the loss of % cannot start: %', target_node_name, failed_node_name, bad
                USING ERRCODE = 'object_not_in_prerequisite_state';
        END IF;
        PERFORM spock.recovery_stop_and_suspend(run, failed_node_name, verb);
    EXCEPTION WHEN OTHERS OR query_canceled THEN
        failure := SQLERRM;
        state := SQLSTATE;
    END;
    PERFORM spock.recovery_disconnect('spk_source');

    FOR attempt IN 1 .. 3 LOOP
        EXIT WHEN failure IS NOT NULL;
        PERFORM spock.recovery_say(verb, format('replaying (attempt %s)', attempt));
        silent := 0;
        BEGIN
            PERFORM spock.recovery_send('spk_target', format('CALL spock.recovery_replay(%s, %L, 20000, NULL)', run ->> 'id', source_dsn));
        EXCEPTION WHEN OTHERS THEN
            failure := SQLERRM;
            state := SQLSTATE;
        END;
        ready := failure IS NOT NULL;
        WHILE NOT ready LOOP -- no snapshot may live through the wait: on the target's own server it would keep every row version
            COMMIT;
            BEGIN
                ready := spock.recovery_ready('spk_target', '5 seconds');
                IF NOT ready THEN
                    silent := spock.recovery_probe('spk_target', target_dsn, silent, 3);
                END IF;
            EXCEPTION WHEN OTHERS OR query_canceled THEN
                failure := SQLERRM;
                state := SQLSTATE;
                EXIT;
            END;
        END LOOP;
        IF failure IS NULL THEN
            BEGIN
                SELECT a INTO result FROM spock.recovery_result('spk_target') a;
            EXCEPTION WHEN OTHERS OR query_canceled THEN
                failure := SQLERRM;
                state := SQLSTATE;
            END;
        END IF;
        EXIT WHEN failure IS NULL OR state NOT IN ('40P01', '40001') OR attempt = 3;
        failure := NULL; -- lost against a writer on the target: go on after the last commit
        PERFORM spock.recovery_open('spk_target', target_dsn, true);
    END LOOP;

    -- Whatever happened: what was suspended goes on. A fresh session, the old one is full of settings.
    BEGIN
        PERFORM spock.recovery_open('spk_target', target_dsn, true);
        IF failure IS NOT NULL AND run ->> 'id' IS NOT NULL THEN
            PERFORM spock.recovery_ask('spk_target', format('UPDATE spock.recovery_run SET last_error = %L WHERE id = %s', failure, run ->> 'id'), '10 seconds');
        END IF;
        PERFORM spock.recovery_ask('spk_target', format('SELECT spock.recovery_resume(%L)', failed_node_name), '20 seconds');
        IF failure IS NULL AND result = 'level' THEN
            SELECT a INTO bad FROM spock.recovery_ask('spk_target', format(
                'SELECT CASE WHEN progress_after >= source_progress THEN NULL ELSE format(''the target has %%s up to %%s, the source up to %%s'', failed_node, progress_after, source_progress) END
                   FROM spock.recovery_run WHERE id = %s', run ->> 'id'), '10 seconds') a;
            failure := bad;
            state := 'data_exception';
        END IF;
    EXCEPTION WHEN OTHERS OR query_canceled THEN
        failure := concat_ws('; ', failure, 'resuming the target''s subscriptions: ' || SQLERRM);
        state := coalesce(state, SQLSTATE);
    END;
    PERFORM spock.recovery_disconnect('spk_target');
    IF failure IS NOT NULL THEN
        RAISE EXCEPTION 'rescue of % from the loss of % was interrupted: %', target_node_name, failed_node_name, failure
            USING ERRCODE = state, HINT = 'Call it again: it goes on where it was. Nothing is applied twice.';
    END IF;
    FOR c IN SELECT * FROM spock.recover_status(failed_node_name, target_dsn) LIMIT 1 LOOP
        PERFORM spock.recovery_say(verb, format('%s: %s transactions, %s rows replayed, %s kept, %s skipped; %s has %s up to %s',
            c.step, c.transactions, c.rows, c.kept, c.skipped, target_node_name, failed_node_name, c.progress_after));
    END LOOP;
END $$;

-- recover_status shows the rescues of this node, or of the one at target_dsn, latest first.
CREATE OR REPLACE FUNCTION spock.recover_status(failed_node_name text DEFAULT NULL, target_dsn text DEFAULT NULL) RETURNS SETOF spock.recovery_run
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF target_dsn IS NULL THEN
        RETURN QUERY SELECT * FROM spock.recovery_run r WHERE failed_node_name IS NULL OR r.failed_node = failed_node_name ORDER BY r.id DESC;
    ELSE
        RETURN QUERY SELECT (jsonb_populate_record(NULL::spock.recovery_run, a::jsonb)).*
                       FROM spock.recovery_ask_peer('status', target_dsn, format('SELECT to_jsonb(r) FROM spock.recover_status(%L) r', failed_node_name), '10 seconds') a;
    END IF;
END $$;

-- recovery is the whole rescue: precheck, replay, finish. A second call changes nothing.
CREATE OR REPLACE PROCEDURE spock.recovery(failed_node_name text, source_node_name text, source_dsn text, target_node_name text, target_dsn text,
    stop_lsn pg_lsn DEFAULT NULL, skip_lsn pg_lsn DEFAULT NULL, stop_timestamp timestamptz DEFAULT NULL, verb boolean DEFAULT false)
LANGUAGE plpgsql AS $$
DECLARE
    reached text;
BEGIN
    CALL spock.recover_run(failed_node_name, source_node_name, source_dsn, target_node_name, target_dsn, stop_lsn, skip_lsn, stop_timestamp, verb);
    SELECT s.step INTO reached FROM spock.recover_status(failed_node_name, target_dsn) s LIMIT 1;
    IF reached = 'stopped' THEN
        RAISE NOTICE '% was replayed on % up to the stop; its subscription is kept there, disabled. Call again without a stop for the rest, or CALL spock.recover_finalize(…, accept_partial := true).',
            failed_node_name, target_node_name;
        RETURN;
    END IF;
    CALL spock.recover_finalize(failed_node_name, source_node_name, source_dsn, target_node_name, target_dsn, verb);
END $$;

RESET client_min_messages;
