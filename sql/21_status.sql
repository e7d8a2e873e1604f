-- 21_status.sql: looking at the recovery slot and at who has what of a lost node.

SET client_min_messages = warning;

-- get_recovery_slot_status is one row about this database's slot and what the last advance found.
CREATE OR REPLACE FUNCTION spock.get_recovery_slot_status(
    OUT slot_name text, OUT slot_exists boolean, OUT active boolean, OUT wal_status text,
    OUT restart_lsn pg_lsn, OUT confirmed_flush_lsn pg_lsn, OUT current_lsn pg_lsn, OUT retained_bytes bigint,
    OUT held_by text, OUT last_advance timestamptz, OUT last_advance_seconds float8, OUT pairs jsonb)
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT spock.recovery_slot_name(), s.slot_name IS NOT NULL, s.active, s.wal_status,
           s.restart_lsn, s.confirmed_flush_lsn, w.lsn, (w.lsn - s.restart_lsn)::bigint,
           a.held_by, a.at, a.seconds,
           (SELECT coalesce(jsonb_agg(to_jsonb(p) ORDER BY p.peer_node, p.origin_node), '[]') FROM spock.recovery_pair p)
      FROM (SELECT pg_current_wal_flush_lsn() AS lsn) w
      LEFT JOIN pg_replication_slots s ON s.slot_name = spock.recovery_slot_name()
      LEFT JOIN spock.recovery_advance a ON true
$$;

-- quick_health_check is one row per thing that a rescue would need: status ok, warning or error.
CREATE OR REPLACE FUNCTION spock.quick_health_check()
RETURNS TABLE (check_name text, status text, detail text) LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    s   record;
    p   record;
    why text;
BEGIN
    SELECT * INTO s FROM spock.get_recovery_slot_status();
    RETURN QUERY SELECT 'node', CASE WHEN count(*) = 1 THEN 'ok' ELSE 'error' END, coalesce(max(node_name), 'this database is not a node') FROM spock.recovery_node;
    RETURN QUERY SELECT 'recovery slot', CASE WHEN NOT s.slot_exists OR s.wal_status = 'lost' THEN 'error'
                     WHEN s.wal_status = 'unreserved' THEN 'warning' ELSE 'ok' END,
                 CASE WHEN s.slot_exists THEN format('%s at %s, WAL %s, %s bytes kept', s.slot_name, s.confirmed_flush_lsn, s.wal_status, s.retained_bytes)
                      ELSE s.slot_name || ' does not exist' END;
    RETURN QUERY SELECT 'manager', CASE WHEN s.last_advance > clock_timestamp() - interval '5 minutes' THEN 'ok' ELSE 'warning' END,
                 coalesce('last advance ' || s.last_advance, 'no advance since the last crash or ever');
    RETURN QUERY SELECT 'held', CASE WHEN s.held_by IS NULL THEN 'ok' ELSE 'warning' END, coalesce(s.held_by, 'not held');
    RETURN QUERY SELECT 'publications', CASE WHEN count(*) = 0 THEN 'ok' ELSE 'warning' END, format('%s tables not in step', count(*))
                   FROM spock.recovery_publication_difference;
    RETURN QUERY SELECT 'setting ' || name, CASE WHEN setting = wanted THEN 'ok' ELSE bad END, setting
                   FROM (VALUES ('wal_level', 'logical', 'error'), ('track_commit_timestamp', 'on', 'warning')) v(n, wanted, bad)
                   JOIN pg_settings ON name = n;
    RETURN QUERY SELECT 'free replication slots', CASE WHEN count(*) < current_setting('max_replication_slots')::int THEN 'ok' ELSE 'error' END,
                 format('%s of %s used', count(*), current_setting('max_replication_slots')) FROM pg_replication_slots;
    FOR p IN SELECT * FROM spock.recovery_peer ORDER BY peer_node LOOP
        BEGIN
            SELECT CASE WHEN a::json ->> 'node' IS DISTINCT FROM p.peer_node THEN 'answered by another node' END INTO why
              FROM spock.recovery_ask_peer(p.peer_node, p.dsn, 'SELECT spock.recovery_answer(NULL)') AS a;
        EXCEPTION WHEN OTHERS THEN
            why := SQLERRM;
        END;
        RETURN QUERY SELECT 'peer ' || p.peer_node, CASE WHEN why IS NOT NULL THEN 'error' WHEN NOT p.enabled THEN 'warning' ELSE 'ok' END,
                     coalesce(why, CASE WHEN p.enabled THEN 'answers' ELSE 'answers; the subscription to it is disabled' END);
    END LOOP;
END $$;

-- recovery_covers is false if the slot has certainly passed a transaction of the origin that
-- comes after progress: a later sample was committed here before the slot's position.
CREATE OR REPLACE FUNCTION spock.recovery_covers(origin text, progress pg_lsn) RETURNS boolean LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT NOT EXISTS (SELECT FROM spock.recovery_sample s JOIN pg_replication_slots l ON l.slot_name = spock.recovery_slot_name()
                        WHERE s.origin_node = origin AND s.remote_lsn > coalesce(progress, '0/0') AND s.local_lsn <= l.confirmed_flush_lsn)
$$;

-- recovery_survivor is what this node tells about a lost one.
CREATE OR REPLACE FUNCTION spock.recovery_survivor(failed text) RETURNS text LANGUAGE sql SET search_path = pg_catalog AS $$
    SELECT json_build_object(
        'node', (SELECT node_name FROM spock.recovery_node),
        'subscribes', EXISTS (SELECT FROM spock.recovery_peer WHERE peer_node = failed),
        'origin', (SELECT origin_name FROM spock.recovery_peer WHERE peer_node = failed),
        'progress', (SELECT remote_lsn FROM spock.recovery_progress() WHERE origin_node = failed),
        'position', s.confirmed_flush_lsn, 'wal_status', s.wal_status,
        'files', spock.recovery_files_version(), 'server', current_setting('server_version_num')::int / 10000,
        'timestamps', current_setting('track_commit_timestamp'),
        'publications', (SELECT count(*) FROM pg_publication WHERE pubname IN ('spock_recovery', 'spock_recovery_insert')),
        'free_slots', current_setting('max_replication_slots')::int - (SELECT count(*) FROM pg_replication_slots))::text
      FROM (SELECT) one LEFT JOIN pg_replication_slots s ON s.slot_name = spock.recovery_slot_name()
$$;

-- find_rescue_source asks every survivor that this node knows how much of a lost node it durably has.
-- role: source (the most, and a slot to read it from), level (as much), lagging, unreachable, none (no subscription to it).
CREATE OR REPLACE FUNCTION spock.find_rescue_source(failed_node_name text)
RETURNS TABLE (node_name text, role text, progress pg_lsn, behind_bytes bigint, slot_position pg_lsn, slot_wal_status text, dsn text, detail text)
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    p      record;
    a      json;
    list   jsonb := '[]';
    most   pg_lsn;
    chosen text;
BEGIN
    FOR p IN SELECT n.node_name AS name, n.dsn, true AS self FROM spock.recovery_node n
             UNION ALL SELECT q.peer_node, q.dsn, false FROM spock.recovery_peer q WHERE q.peer_node <> failed_node_name ORDER BY 3 DESC, 1 LOOP
        BEGIN
            IF p.self THEN
                a := spock.recovery_survivor(failed_node_name)::json;
            ELSE
                SELECT x::json INTO a FROM spock.recovery_ask_peer(p.name, p.dsn, format('SELECT spock.recovery_survivor(%L)', failed_node_name)) x;
            END IF;
            IF a ->> 'node' IS DISTINCT FROM p.name THEN
                a := json_build_object('error', format('its address is answered by %s', a ->> 'node'));
            END IF;
        EXCEPTION WHEN OTHERS THEN
            a := json_build_object('error', SQLERRM);
        END;
        list := list || jsonb_build_array(a::jsonb || jsonb_build_object('node', p.name, 'dsn', p.dsn));
    END LOOP;
    SELECT max((e ->> 'progress')::pg_lsn) INTO most FROM jsonb_array_elements(list) e WHERE (e ->> 'subscribes')::boolean;
    SELECT e ->> 'node' INTO chosen FROM jsonb_array_elements(list) e
     WHERE (e ->> 'progress')::pg_lsn = most AND e ->> 'position' IS NOT NULL AND e ->> 'wal_status' <> 'lost'
     ORDER BY (e ->> 'wal_status' = 'unreserved'), e ->> 'node' LIMIT 1;
    RETURN QUERY
        SELECT e ->> 'node',
               CASE WHEN e ? 'error' THEN 'unreachable' WHEN NOT (e ->> 'subscribes')::boolean THEN 'none'
                    WHEN e ->> 'node' = chosen THEN 'source' WHEN (e ->> 'progress')::pg_lsn = most THEN 'level' ELSE 'lagging' END,
               (e ->> 'progress')::pg_lsn,
               CASE WHEN (e ->> 'subscribes')::boolean THEN (most - coalesce((e ->> 'progress')::pg_lsn, '0/0'))::bigint END,
               (e ->> 'position')::pg_lsn, e ->> 'wal_status', e ->> 'dsn', e ->> 'error'
          FROM jsonb_array_elements(list) e
         ORDER BY (e ->> 'progress')::pg_lsn DESC NULLS LAST, 1;
END $$;

-- recovery_clone_name begins the names of all clones for one failed node and target.
CREATE OR REPLACE FUNCTION spock.recovery_clone_name(failed text, target text) RETURNS text LANGUAGE sql IMMUTABLE SET search_path = pg_catalog AS $$
    SELECT 'spk_rescue_clone_' || left(regexp_replace(lower((failed || '_' || target) COLLATE "C"), '[^a-z0-9_]', '_', 'g'), 20)
           || '_' || left(md5(failed || '/' || target), 6)
$$;

-- clone_recovery_slot copies this database's recovery slot. The copy begins where the original stands. A
-- permanent one keeps WAL until it is dropped; a temporary one goes with the session.
CREATE OR REPLACE FUNCTION spock.clone_recovery_slot(clone_name text DEFAULT NULL, temporary boolean DEFAULT false, OUT slot_name text, OUT lsn pg_lsn)
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    slot_name := coalesce(clone_name, 'spk_rescue_clone_' || to_char(clock_timestamp(), 'YYYYMMDDHH24MISSUS'));
    IF NOT EXISTS (SELECT FROM pg_replication_slots s WHERE s.slot_name = spock.recovery_slot_name()) THEN
        RAISE EXCEPTION 'recovery slot % does not exist', spock.recovery_slot_name() USING ERRCODE = 'undefined_object';
    END IF;
    SELECT c.lsn INTO lsn FROM pg_copy_logical_replication_slot(spock.recovery_slot_name()::name, slot_name::name, temporary, 'pgoutput') c;
END $$;

RESET client_min_messages;
