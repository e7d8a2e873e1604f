-- 30_replay.sql: replay of the failed node's transactions on the target, from the source's WAL.
--
-- spock.recovery_replay runs on the target, in a session of its own (it leaves that session with other
-- settings), as a top-level CALL: it commits once per replayed transaction. It reads the
-- source's clone slot through plugin pgoutput, protocol version 1 ("Logical Replication
-- Message Formats" in PostgreSQL's manual). 31_apply.sql makes the statements.

SET client_min_messages = warning;

-- recovery_relation is what the replay that runs knows of the source's tables. It is not a temporary table: a session that
-- has one commits a transaction of its own when it ends, and with the origin set up that
-- commit would move the progress past the transaction in which the session was killed.
CREATE UNLOGGED TABLE IF NOT EXISTS spock.recovery_relation (
    relid    bigint PRIMARY KEY, -- the source's number
    message  bytea NOT NULL,     -- its Relation message
    name     text,      -- quoted; null: not looked up here yet
    columns  text[],    -- quoted
    types    text[],
    always   boolean[], -- GENERATED ALWAYS AS IDENTITY
    keys     int[],     -- columns by which a row is found
    by_text  boolean,   -- no key: a row is found by all columns as text, one of several equal rows
    conflict text,      -- condition that finds the rows with which an insert can collide; null: none
    careful  boolean    -- ON CONFLICT does not do (deferrable constraints)
);
ALTER TABLE spock.recovery_relation ADD COLUMN IF NOT EXISTS deltas text[]; -- per column the function by which it is applied as a difference; null: no column is

-- recovery_newer is the rows that the replay has added to although they were newer: such a row gets the transaction's time and origin, and these
-- are those that its other columns have.
CREATE TABLE IF NOT EXISTS spock.recovery_newer (
    relid  oid  NOT NULL,
    key    text NOT NULL,
    writer xid  NOT NULL, -- the transaction that added; whose row it is no longer, counts no longer
    at     timestamptz NOT NULL,
    origin oid,
    PRIMARY KEY (relid, key)
);

-- recovery_int4 and recovery_int8 read a number, most significant byte first; at counts from 0.
CREATE OR REPLACE FUNCTION spock.recovery_int4(d bytea, at int) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT (get_byte(d, at)::bigint << 24) | (get_byte(d, at + 1) << 16) | (get_byte(d, at + 2) << 8) | get_byte(d, at + 3)
$$;
CREATE OR REPLACE FUNCTION spock.recovery_int8(d bytea, at int) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT (spock.recovery_int4(d, at) << 32) | spock.recovery_int4(d, at + 4)
$$;

-- recovery_clone_query asks for the next batch of at most about n messages (a transaction comes whole).
-- It consumes them: a replay that is interrupted starts again from a fresh copy of the recovery
-- slot, which still stands where the target needs it.
CREATE OR REPLACE FUNCTION spock.recovery_clone_query(clone text, stop pg_lsn, n int) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT format('SELECT data FROM pg_logical_slot_get_binary_changes(%L, %L, %s, ''proto_version'', ''1'', '
                  '''publication_names'', ''spock_recovery,spock_recovery_insert'')', clone, stop, n)
$$;

-- recovery_await waits for the answer to the last query on conn, for as long as the server at dsn
-- still answers another connection: decoding may take long, a stalled link may not.
CREATE OR REPLACE FUNCTION spock.recovery_await(conn text, dsn text, tries int DEFAULT 3) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    silent int := 0;
BEGIN
    WHILE NOT spock.recovery_ready(conn, '5 seconds') LOOP
        silent := spock.recovery_probe(conn, dsn, silent, tries);
    END LOOP;
END $$;

-- recovery_probe returns 0 if the server at dsn answers, else silent + 1; at tries it raises.
CREATE OR REPLACE FUNCTION spock.recovery_probe(conn text, dsn text, silent int, tries int) RETURNS int
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    BEGIN
        PERFORM spock.recovery_connect('spk_probe', dsn);
        PERFORM spock.recovery_ask('spk_probe', 'SELECT 1');
        PERFORM spock.recovery_disconnect('spk_probe');
        RETURN 0;
    EXCEPTION WHEN OTHERS THEN
        PERFORM spock.recovery_disconnect('spk_probe');
        IF silent + 1 >= tries THEN
            PERFORM spock.recovery_disconnect(conn);
            RAISE EXCEPTION '%: answers neither the query nor a probe: %', conn, SQLERRM USING ERRCODE = 'connection_failure';
        END IF;
        RETURN silent + 1;
    END;
END $$;

-- recovery_session makes this session one that replays or is replayed from: values as any session
-- reads them, no limits, and an end soon after the other side is gone.
CREATE OR REPLACE FUNCTION spock.recovery_session() RETURNS text LANGUAGE sql AS $$
    SELECT set_config('client_connection_check_interval', '500ms', false)
        || set_config('search_path', 'pg_catalog', false)
        || set_config('datestyle', 'ISO, YMD', false) || set_config('intervalstyle', 'postgres', false)
        || set_config('timezone', 'UTC', false) || set_config('extra_float_digits', '3', false)
        || set_config('bytea_output', 'hex', false) || set_config('xmloption', 'content', false)
        || set_config('lc_monetary', 'C', false) || set_config('standard_conforming_strings', 'on', false)
        || set_config('statement_timeout', '0', false) || set_config('lock_timeout', '0', false)
        || set_config('idle_in_transaction_session_timeout', '0', false) || set_config('idle_session_timeout', '0', false)
        || set_config('client_min_messages', 'warning', false)
$$;

-- recovery_replay replays for run run_id. result: 'level' when all that the source has up to the
-- run's stop_position is here, 'stopped' at stop_lsn or stop_timestamp.
CREATE OR REPLACE PROCEDURE spock.recovery_replay(run_id bigint, source_dsn text, batch int, INOUT result text)
LANGUAGE plpgsql AS $$
DECLARE
    run           spock.recovery_run;
    origin        text;      -- of the failed node, here: the one that commits carry
    followed      text;      -- of the subscription to it, here
    origin_suffix bytea;     -- the end of an Origin message from the failed node on the source
    source_origin text;
    zero     CONSTANT pg_lsn := '0/0';
    epoch    CONSTANT timestamptz := '2000-01-01 00:00:00+00';
    micro    CONSTANT interval := '1 microsecond';
    first_wait    timestamptz := clock_timestamp();
    progress      bigint;    -- what this node has of the failed node, in its WAL
    stop_lsn      bigint;
    skip_lsn      bigint;
    d             bytea;     -- one message
    kind          int;       -- its type byte
    n             int;       -- messages of the batch read
    size          int;       -- messages in the batch
    active        boolean := false; -- the transaction is to be replayed
    moving        boolean := false; -- it moves the progress: replayed or skipped
    lsn           bigint;
    at            timestamptz;
    at_param      text;      -- ", '<commit timestamp>')": ends a statement's parameters
    mark          text;      -- names the transaction in error messages
    relid         bigint;
    prepared      text[] := '{}';
    buffer        text[] := '{}';  -- parameter lists of rows to insert into buffer_rel
    buffered      int := 0;
    buffer_rel    bigint;
    call          record;
    hit           int;
    done_transactions bigint := 0;
    done_rows     bigint := 0;
    done_kept     bigint := 0;
    done_skipped  bigint := 0;
    noted         int := 0;  -- transactions since the counts were last written down
BEGIN
    PERFORM spock.recovery_session();
    PERFORM set_config('session_replication_role', 'replica', false), set_config('synchronous_commit', 'off', false),
            set_config('plan_cache_mode', 'force_generic_plan', false), set_config('jit', 'off', false),
            set_config('work_mem', '64MB', false), set_config('row_security', 'off', false);
    DELETE FROM spock.recovery_relation;
    DEALLOCATE ALL;
    SELECT * INTO STRICT run FROM spock.recovery_run r WHERE r.id = run_id;
    IF run.attempts = 0 THEN
        DELETE FROM spock.recovery_newer;
    END IF;
    SELECT p.commit_origin, p.origin_name INTO origin, followed FROM spock.recovery_peer p WHERE p.peer_node = run.failed_node;
    IF origin IS NULL THEN
        RAISE EXCEPTION 'this node has no subscription to %: nothing tells which of its transactions are here', run.failed_node;
    END IF;
    stop_lsn := run.stop_lsn - zero;
    skip_lsn := run.skip_lsn - zero;

    PERFORM spock.recovery_connect('spk_source', source_dsn);
    PERFORM spock.recovery_ask('spk_source', 'SELECT spock.recovery_session()', '10 seconds');
    SELECT a INTO source_origin FROM spock.recovery_ask('spk_source',
        format('SELECT commit_origin FROM spock.recovery_peer WHERE peer_node = %L', run.failed_node), '10 seconds') AS a;
    IF source_origin IS NULL THEN
        RAISE EXCEPTION 'source % has no subscription to %: its name is needed to know the transactions', run.source_node, run.failed_node;
    END IF;
    origin_suffix := convert_to(source_origin, getdatabaseencoding()) || '\x00'::bytea;
    -- A temporary slot: it is gone when this session or the one on the source ends, however they end.
    SELECT a::json ->> 'slot', (a::json ->> 'position')::pg_lsn INTO run.clone, run.clone_position
      FROM spock.recovery_ask('spk_source', format(
        'SELECT json_build_object(''slot'', c.slot_name, ''position'', c.lsn) FROM spock.clone_recovery_slot(%L, true) c',
        spock.recovery_clone_name(run.failed_node, (SELECT node_name FROM spock.recovery_node)) || '_' || pg_backend_pid()),
        '60 seconds') AS a;

    LOOP -- the apply worker that was stopped may take a moment to let go
        BEGIN
            -- A removal that was interrupted took the origin's progress with it, or another origin has come further; the rows are there.
            PERFORM pg_replication_origin_advance(origin, p.remote_lsn) FROM spock.recovery_progress() p
              WHERE p.origin_node = run.failed_node AND p.remote_lsn > coalesce(pg_replication_origin_progress(origin, false), zero);
            PERFORM pg_replication_origin_session_setup(origin);
            EXIT;
        EXCEPTION WHEN object_in_use THEN
            IF clock_timestamp() - first_wait > interval '20 seconds' THEN
                RAISE;
            END IF;
        END;
        PERFORM pg_sleep(0.1);
    END LOOP;
    PERFORM set_config('spkrecovery.failed', run.failed_node, false), set_config('spkrecovery.origin', pg_replication_origin_oid(origin)::text, false);
    progress := coalesce(pg_replication_origin_session_progress(true) - zero, 0);
    UPDATE spock.recovery_run r
       SET step = 'replaying', clone = run.clone, clone_position = run.clone_position, attempts = attempts + 1,
           progress_before = coalesce(progress_before, zero + progress::numeric)
     WHERE r.id = run_id;
    COMMIT;

    PERFORM spock.recovery_send('spk_source', spock.recovery_clone_query(run.clone, run.stop_position, batch));
    result := 'level';
    LOOP
        PERFORM spock.recovery_await('spk_source', source_dsn);
        n := 0;
        size := 0;
        FOR d IN SELECT c.data FROM spock.recovery_changes('spk_source') c LOOP
            IF n = 0 THEN -- the source decodes the next batch while this one is applied
                size := current_setting('spkrecovery.batch_rows')::int;
                IF size >= batch THEN
                    PERFORM spock.recovery_send('spk_source', spock.recovery_clone_query(run.clone, run.stop_position, batch));
                END IF;
            END IF;
            n := n + 1;
            kind := get_byte(d, 0);
            IF buffered > 0 THEN
                relid := spock.recovery_int4(d, 1);
                IF kind <> 73 OR relid <> buffer_rel OR buffered >= 500 THEN
                    IF buffered = 1 AND 'i' || buffer_rel = ANY (prepared) THEN
                        EXECUTE 'EXECUTE i' || buffer_rel || buffer[1] || mark;
                        GET DIAGNOSTICS hit = ROW_COUNT;
                    ELSE
                        hit := 0;
                    END IF;
                    IF hit = 0 THEN
                        hit := spock.recovery_insert_rows(buffer_rel, buffer, at_param, mark);
                        IF NOT 'i' || buffer_rel = ANY (prepared) AND NOT spock.recovery_careful(buffer_rel) THEN
                            prepared := prepared || ('i' || buffer_rel);
                        END IF;
                    END IF;
                    done_rows := done_rows + hit;
                    done_kept := done_kept + buffered - hit;
                    buffer := '{}';
                    buffered := 0;
                END IF;
            END IF;

            IF kind = 73 THEN -- Insert
                IF active THEN
                    buffer_rel := spock.recovery_int4(d, 1);
                    buffer := buffer || ((spock.recovery_tuple(d, 6)).parameters || ')');
                    buffered := buffered + 1;
                END IF;
            ELSIF kind = 66 THEN -- Begin
                active := false;
                moving := false;
                at := epoch + spock.recovery_int8(d, 9) * micro;
            ELSIF kind = 79 THEN -- Origin
                IF substring(d FROM 10) = origin_suffix THEN
                    lsn := spock.recovery_int8(d, 1);
                    IF lsn > progress THEN
                        IF lsn > stop_lsn OR at > run.stop_timestamp THEN
                            result := 'stopped';
                            EXIT;
                        END IF;
                        moving := true;
                        active := lsn IS DISTINCT FROM skip_lsn;
                        at_param := ',' || quote_literal(at) || ')';
                        mark := ' /*origin ' || (zero + lsn::numeric) || '*/';
                    END IF;
                END IF;
            ELSIF kind = 67 THEN -- Commit
                IF moving THEN
                    -- The progress moves with a commit record only, so have one even if no row changed. Set up
                    -- at the last moment: a commit of anything else must not carry it (see recovery_relation).
                    PERFORM pg_current_xact_id(), pg_replication_origin_xact_setup(zero + lsn::numeric, at);
                    progress := lsn;
                    IF active THEN
                        done_transactions := done_transactions + 1;
                    ELSE
                        done_skipped := done_skipped + 1;
                    END IF;
                    noted := noted + 1;
                    IF noted >= 100 THEN
                        UPDATE spock.recovery_run r SET transactions = transactions + done_transactions, rows = rows + done_rows,
                               kept = kept + done_kept, skipped = skipped + done_skipped WHERE r.id = run_id;
                        done_transactions := 0; done_rows := 0; done_kept := 0; done_skipped := 0; noted := 0;
                    END IF;
                    COMMIT;
                    active := false;
                    moving := false;
                END IF;
            ELSIF kind = 82 THEN -- Relation: sent before its first use, also in transactions that are not ours
                IF spock.recovery_relation(d) THEN
                    prepared := array(SELECT s.name FROM pg_prepared_statements s WHERE s.name = ANY (prepared));
                END IF;
            ELSIF active AND kind IN (85, 68) THEN -- Update, Delete
                call := spock.recovery_change(d);
                IF NOT call.name = ANY (prepared) THEN
                    PERFORM spock.recovery_prepare_change(call.name, call.relid, call.kinds, call.old_kinds);
                    prepared := prepared || call.name;
                END IF;
                EXECUTE 'EXECUTE ' || call.name || call.parameters || at_param || mark;
                GET DIAGNOSTICS hit = ROW_COUNT;
                IF hit = 0 AND kind = 85 THEN
                    hit := spock.recovery_update_missing(d, call.name, call.relid, call.kinds, call.parameters, at_param, mark);
                END IF;
                IF hit > 0 THEN
                    done_rows := done_rows + 1;
                ELSE
                    done_kept := done_kept + 1;
                END IF;
            ELSIF active AND kind = 84 THEN -- Truncate
                done_rows := done_rows + spock.recovery_truncate(d, mark);
            END IF;
        END LOOP;
        EXIT WHEN result = 'stopped' OR size < batch;
    END LOOP;

    PERFORM spock.recovery_disconnect('spk_source');
    IF result = 'level' AND progress < run.source_progress - zero THEN
        -- The source's last transactions of the failed node changed no table that it publishes.
        RAISE WARNING '%''s transactions after % up to % changed no replicated table on %', run.failed_node,
            zero + progress::numeric, run.source_progress, run.source_node;
        PERFORM pg_replication_origin_xact_setup(run.source_progress, coalesce(at, clock_timestamp())), pg_current_xact_id();
    END IF;
    UPDATE spock.recovery_run r SET transactions = transactions + done_transactions, rows = rows + done_rows,
           kept = kept + done_kept, skipped = skipped + done_skipped WHERE r.id = run_id;
    COMMIT;
    -- One flush for all asynchronous commits: from here on the replay survives a crash.
    run.progress_after := pg_replication_origin_session_progress(true);
    PERFORM pg_replication_origin_session_reset();
    IF followed <> origin THEN -- somebody may enable the subscription again
        PERFORM pg_replication_origin_advance(followed, run.progress_after);
    END IF;
    PERFORM set_config('synchronous_commit', 'on', false);
    UPDATE spock.recovery_run r
       SET step = CASE result WHEN 'level' THEN 'replayed' ELSE 'stopped' END, progress_after = run.progress_after, last_error = NULL
     WHERE r.id = run_id;
    COMMIT;
END $$;

RESET client_min_messages;
