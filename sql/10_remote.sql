-- 10_remote.sql: asking another node without ever waiting for it without a limit.
--
-- dblink(...) itself cannot be interrupted on PostgreSQL 15 while it waits for an answer,
-- not even by statement_timeout, so a link that is up but stalled would hang the caller.
-- All use of dblink is in this file: connect with a limit, send, poll, give up.

SET client_min_messages = warning;

-- recovery_conninfo adds to a conninfo (keywords or URI) what makes a dead link be noticed.
CREATE OR REPLACE FUNCTION spock.recovery_conninfo(dsn text, app text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN dsn ~ '^postgres(ql)?://'
        THEN dsn || CASE WHEN position('?' IN dsn) > 0 THEN '&' ELSE '?' END
             || 'connect_timeout=2&keepalives_idle=5&keepalives_interval=2&keepalives_count=3&tcp_user_timeout=10000&application_name=' || app
        ELSE dsn || ' connect_timeout=2 keepalives_idle=5 keepalives_interval=2 keepalives_count=3 tcp_user_timeout=10000 application_name=' || app
    END
$$;

-- recovery_connected tells whether this session has the named connection.
CREATE OR REPLACE FUNCTION spock.recovery_connected(conn text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    RETURN coalesce(conn = ANY (dblink_get_connections()), false);
END $$;

CREATE OR REPLACE FUNCTION spock.recovery_disconnect(conn text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF spock.recovery_connected(conn) THEN
        PERFORM dblink_disconnect(conn);
    END IF;
EXCEPTION WHEN OTHERS THEN
    NULL; -- it was broken: that is what we wanted
END $$;

-- recovery_guard, in a session of its own: cancels what session pid does unless that lets go of its guard lock within wait.
CREATE OR REPLACE FUNCTION spock.recovery_guard(pid int, wait interval) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('lock_timeout', (extract(epoch FROM wait) * 1000)::int::text, true);
    PERFORM pg_advisory_xact_lock(hashtext('spock.recovery_guard'), pid);
    RETURN false;
EXCEPTION WHEN lock_not_available THEN
    PERFORM pg_cancel_backend(pid);
    RETURN true;
END $$;

-- recovery_guard_begin takes the guard lock, until the end of the subtransaction, and starts the guard.
CREATE OR REPLACE FUNCTION spock.recovery_guard_begin(wait interval) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM spock.recovery_disconnect('spk_guard');
    PERFORM pg_advisory_xact_lock(hashtext('spock.recovery_guard'), pg_backend_pid());
    BEGIN
        PERFORM dblink_connect('spk_guard', spock.recovery_conninfo(dsn, 'spock_recovery')) FROM spock.recovery_node;
        PERFORM spock.recovery_send('spk_guard', format('SELECT spock.recovery_guard(%s, %L)', pg_backend_pid(), wait));
    EXCEPTION WHEN OTHERS THEN
        RAISE WARNING 'this node does not reach itself by its own dsn: a node that is up but silent may hold up this call without limit: %', SQLERRM;
    END;
END $$;

-- recovery_guard_end tells whether the guard cancelled. The guard lock must be free.
CREATE OR REPLACE FUNCTION spock.recovery_guard_end() RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    fired boolean := false;
BEGIN
    IF spock.recovery_connected('spk_guard') AND spock.recovery_ready('spk_guard', '2 seconds') THEN
        SELECT a = 't' INTO fired FROM spock.recovery_result('spk_guard') a;
    END IF;
    PERFORM spock.recovery_disconnect('spk_guard');
    RETURN fired;
EXCEPTION WHEN OTHERS THEN
    PERFORM spock.recovery_disconnect('spk_guard');
    RETURN false; -- it ended before it could
END $$;

-- recovery_connect opens the named connection anew. Blocks at most some 2 s, on PostgreSQL 15 per address of the
-- host. From 16 on dblink does not know connect_timeout, but can be cancelled while it connects: a guard does that.
CREATE OR REPLACE FUNCTION spock.recovery_connect(conn text, dsn text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    guarded CONSTANT boolean := current_setting('server_version_num')::int >= 160000;
    fired   boolean := false;
    said    text;
    why     text;
    state   text;
BEGIN
    PERFORM spock.recovery_disconnect(conn);
    BEGIN
        BEGIN
            IF guarded THEN
                fired := NULL;
                PERFORM spock.recovery_guard_begin('2 seconds');
            END IF;
            PERFORM dblink_connect(conn, spock.recovery_conninfo(dsn, 'spock_recovery'));
            RAISE SQLSTATE 'SPK00'; -- frees the guard lock, as any error does
        EXCEPTION WHEN SQLSTATE 'SPK00' THEN
            NULL;
        WHEN OTHERS OR query_canceled THEN
            GET STACKED DIAGNOSTICS said = MESSAGE_TEXT, why = PG_EXCEPTION_DETAIL, state = RETURNED_SQLSTATE;
        END;
        fired := coalesce(fired, spock.recovery_guard_end());
        PERFORM pg_sleep(0); -- here a cancel that came at the last moment is raised
    EXCEPTION WHEN query_canceled THEN
        fired := coalesce(fired, spock.recovery_guard_end());
        IF NOT fired THEN
            RAISE; -- somebody else meant it
        END IF;
    END;
    IF fired THEN
        PERFORM spock.recovery_disconnect(conn);
        RAISE EXCEPTION 'connecting (%): no answer within 2 s', conn USING ERRCODE = 'sqlclient_unable_to_establish_sqlconnection';
    ELSIF state = '57014' THEN
        RAISE EXCEPTION '%', said USING ERRCODE = 'query_canceled';
    ELSIF state IS NOT NULL THEN
        RAISE EXCEPTION 'connecting (%): % %', conn, said, regexp_replace(why, '\s+$', '')
            USING ERRCODE = 'sqlclient_unable_to_establish_sqlconnection';
    END IF;
END $$;

-- recovery_ready waits until the answer to the last query is there; false after wait. Each look takes in no
-- more than libpq's buffer (16 kB at first), so one look per nap would throttle a large answer.
CREATE OR REPLACE FUNCTION spock.recovery_ready(conn text, wait interval) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    deadline timestamptz := clock_timestamp() + wait;
    nap      float8 := 0.0005;
BEGIN
    LOOP
        FOR look IN 1 .. 8 LOOP
            IF dblink_is_busy(conn) = 0 THEN
                RETURN true;
            END IF;
        END LOOP;
        IF clock_timestamp() >= deadline THEN
            RETURN false;
        END IF;
        PERFORM pg_sleep(nap);
        nap := least(nap * 1.5, 0.001);
    END LOOP;
END $$;

CREATE OR REPLACE FUNCTION spock.recovery_send(conn text, query text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF dblink_send_query(conn, query) <> 1 THEN
        RAISE EXCEPTION 'sending to %: %', conn, dblink_error_message(conn)
            USING ERRCODE = 'connection_failure';
    END IF;
END $$;

-- recovery_result fetches the answer (one column, as text), which must be there, and makes the
-- connection ready for the next query. Raises the remote error with its SQLSTATE.
CREATE OR REPLACE FUNCTION spock.recovery_result(conn text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    said text; detail text; hint text; context text; state text; lsn text;
BEGIN
    BEGIN
        RETURN QUERY SELECT r.v FROM dblink_get_result(conn, true) AS r(v text);
    EXCEPTION WHEN OTHERS THEN
        GET STACKED DIAGNOSTICS said = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT,
                                state = RETURNED_SQLSTATE, context = PG_EXCEPTION_CONTEXT;
        lsn := substring(context FROM '/\*origin ([0-9A-F]+/[0-9A-F]+)\*/');
        IF lsn IS NOT NULL THEN -- 30_replay.sql marks its statements
            said := format('%s (replaying the transaction %s; skip_lsn := ''%s'' would leave it out)', said, lsn, lsn);
        END IF;
        BEGIN
            PERFORM * FROM dblink_get_result(conn, false) AS r(v text);
        EXCEPTION WHEN OTHERS THEN
            NULL; -- the connection is gone; the first error says more
        END;
        RAISE EXCEPTION '%: %', conn, said USING ERRCODE = state, DETAIL = detail, HINT = hint;
    END;
    PERFORM * FROM dblink_get_result(conn, true) AS r(v text);
END $$;

-- recovery_ask runs one statement with one result column on the named connection. A
-- connection that did not answer in time is closed: what it was asked is then unknown.
CREATE OR REPLACE FUNCTION spock.recovery_ask(conn text, query text, wait interval DEFAULT '2 seconds')
RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM spock.recovery_send(conn, query);
    IF NOT spock.recovery_ready(conn, wait) THEN
        PERFORM spock.recovery_disconnect(conn);
        RAISE EXCEPTION '%: no answer within % s', conn, round(extract(epoch FROM wait)::numeric, 1)
            USING ERRCODE = 'connection_failure';
    END IF;
    RETURN QUERY SELECT * FROM spock.recovery_result(conn);
END $$;

-- recovery_ask_peer asks over a connection that is kept for the session. A kept connection that
-- turns out to be broken (the peer was restarted) is made anew once; one that stalls is not.
CREATE OR REPLACE FUNCTION spock.recovery_ask_peer(peer text, dsn text, query text, wait interval DEFAULT '2 seconds')
RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    conn   text := left('spk_' || peer, 40) || '_' || left(md5(peer || dsn), 8);
    kept   boolean := spock.recovery_connected(conn);
    start  timestamptz := clock_timestamp();
    answer text[];
BEGIN
    IF kept AND dblink_is_busy(conn) = 1 THEN -- an earlier caller was cancelled in mid-air
        PERFORM spock.recovery_disconnect(conn);
        kept := false;
    END IF;
    LOOP
        BEGIN
            IF NOT kept THEN
                PERFORM spock.recovery_connect(conn, dsn);
            END IF;
            answer := array(SELECT * FROM spock.recovery_ask(conn, query, wait));
            EXIT;
        EXCEPTION WHEN OTHERS THEN
            PERFORM spock.recovery_disconnect(conn);
            IF NOT kept OR clock_timestamp() - start > wait * 0.9 THEN
                RAISE;
            END IF;
            kept := false;
        END;
    END LOOP;
    RETURN QUERY SELECT * FROM unnest(answer);
END $$;

-- recovery_changes fetches a batch of decoded changes, in order.
CREATE OR REPLACE FUNCTION spock.recovery_changes(conn text) RETURNS TABLE (data bytea) LANGUAGE plpgsql AS $$
DECLARE
    n bigint;
BEGIN
    RETURN QUERY SELECT r.d FROM dblink_get_result(conn, true) AS r(d bytea);
    GET DIAGNOSTICS n = ROW_COUNT;
    PERFORM set_config('spkrecovery.batch_rows', n::text, false); -- the reader wants to know before the first row
    PERFORM * FROM dblink_get_result(conn, true) AS r(d bytea);
END $$;

-- dblink may live in any schema.
DO $$
DECLARE
    f regprocedure;
    home name := (SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'dblink');
BEGIN
    FOR f IN SELECT p.oid FROM pg_proc p
              WHERE p.pronamespace = 'spock'::regnamespace
                AND p.proname IN ('recovery_connected', 'recovery_disconnect', 'recovery_guard_begin', 'recovery_guard_end',
                                  'recovery_connect', 'recovery_ready', 'recovery_send', 'recovery_result', 'recovery_ask', 'recovery_ask_peer', 'recovery_changes')
    LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = pg_catalog, %I', f, home);
    END LOOP;
END $$;

RESET client_min_messages;
