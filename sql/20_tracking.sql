-- 20_tracking.sql: the recovery slot, how it is made and how it moves.
--
-- The slot keeps the WAL from which a rescue can replay what a peer lacks of another
-- node. It may only pass what every peer durably has. docs/recovery.md tells the rule.

SET client_min_messages = warning;

-- recovery_wanted_publication says which of our two publications each replicated table belongs to:
-- one that publishes updates would make UPDATE and DELETE fail on a table without replica identity.
CREATE OR REPLACE VIEW spock.recovery_wanted_publication AS
    SELECT t.relid,
           CASE WHEN c.relreplident = 'f'
                  OR EXISTS (SELECT FROM pg_catalog.pg_index i
                              WHERE i.indrelid = c.oid
                                AND (c.relreplident = 'i' AND i.indisreplident
                                  OR c.relreplident = 'd' AND i.indisprimary AND i.indimmediate))
                THEN 'spock_recovery' ELSE 'spock_recovery_insert' END AS pubname
      FROM spock.recovery_table t
      JOIN pg_catalog.pg_class c ON c.oid = t.relid
     WHERE c.relkind IN ('r', 'p') AND c.relpersistence = 'p';

CREATE OR REPLACE VIEW spock.recovery_publication_difference AS
    WITH have AS (
        SELECT r.prrelid AS relid, p.pubname::text AS pubname
          FROM pg_catalog.pg_publication p JOIN pg_catalog.pg_publication_rel r ON r.prpubid = p.oid
         WHERE p.pubname IN ('spock_recovery', 'spock_recovery_insert'))
    SELECT relid, w.pubname AS add_to, h.pubname AS drop_from
      FROM (SELECT relid, pubname FROM spock.recovery_wanted_publication) w
      FULL JOIN have h USING (relid)
     WHERE w.pubname IS DISTINCT FROM h.pubname;

-- recovery_sync_publications makes the publications publish what is replicated; true if it changed something.
CREATE OR REPLACE FUNCTION spock.recovery_sync_publications() RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    d       record;
    changed boolean := false;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_publication WHERE pubname = 'spock_recovery') THEN
        CREATE PUBLICATION spock_recovery;
        changed := true;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_publication WHERE pubname = 'spock_recovery_insert') THEN
        CREATE PUBLICATION spock_recovery_insert WITH (publish = 'insert, truncate');
        changed := true;
    END IF;
    FOR d IN SELECT * FROM spock.recovery_publication_difference LOOP
        IF d.drop_from IS NOT NULL THEN
            EXECUTE format('ALTER PUBLICATION %I DROP TABLE ONLY %s', d.drop_from, d.relid::regclass);
        END IF;
        IF d.add_to IS NOT NULL THEN
            EXECUTE format('ALTER PUBLICATION %I ADD TABLE ONLY %s', d.add_to, d.relid::regclass);
        END IF;
        changed := true;
    END LOOP;
    RETURN changed;
END $$;

-- recovery_prepare does what must be committed before the slot is made.
CREATE OR REPLACE FUNCTION spock.recovery_prepare() RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    PERFORM spock.recovery_engine_add_table('spock.recovery_heartbeat'::regclass);
    PERFORM spock.recovery_engine_prepare();
    PERFORM spock.recovery_sync_publications();
END $$;

-- create_recovery_slot makes this database's recovery slot, if it has none, and returns
-- its position. It waits for transactions that are open when it is called.
CREATE OR REPLACE FUNCTION spock.create_recovery_slot() RETURNS pg_lsn LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    slot text := spock.recovery_slot_name();
    pos  pg_lsn;
    own  text;
BEGIN
    SELECT confirmed_flush_lsn INTO pos FROM pg_replication_slots WHERE slot_name = slot;
    IF FOUND THEN
        RETURN pos;
    END IF;
    SELECT dsn INTO own FROM spock.recovery_node;
    IF own IS NULL THEN
        RAISE EXCEPTION 'database % is not a node of a cluster yet', current_database()
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    IF EXISTS (SELECT FROM spock.recovery_publication_difference)
       OR (SELECT count(*) FROM pg_publication WHERE pubname IN ('spock_recovery', 'spock_recovery_insert')) < 2
       OR NOT EXISTS (SELECT FROM spock.recovery_table WHERE relid = 'spock.recovery_heartbeat'::regclass) THEN
        -- Decoding looks publications up as of the WAL it reads, so they must be committed before the
        -- slot begins, and a transaction that has written cannot make a slot: another session does it.
        BEGIN
            PERFORM spock.recovery_ask_peer('self', own, 'SELECT spock.recovery_prepare()', '30 seconds');
        EXCEPTION WHEN OTHERS THEN
            RAISE EXCEPTION 'preparing the publications of slot % through this node''s own dsn: %', slot, SQLERRM
                USING HINT = 'Run SELECT spock.recovery_prepare() in a transaction of its own, then call this again.';
        END;
    END IF;
    SELECT lsn INTO pos FROM pg_create_logical_replication_slot(slot, 'pgoutput');
    RETURN pos;
END $$;

-- recovery_progress_of is this node's progress for a peer; flushed: it is made durable first. Null: nothing yet.
CREATE OR REPLACE FUNCTION spock.recovery_progress_of(peer text, flushed boolean) RETURNS pg_lsn LANGUAGE sql SET search_path = pg_catalog AS $$
    SELECT max(pg_replication_origin_progress(o.roname, flushed))
      FROM spock.recovery_origin r JOIN pg_replication_origin o ON o.roname = r.origin_name
     WHERE r.peer_node = peer
$$;

-- recovery_progress is this node's progress for each peer, durable: what it reports is
-- flushed first, because apply workers commit asynchronously. A null remote_lsn: nothing yet. Of a
-- node whose removal was interrupted the origin may tell nothing any more: then what was noted before counts.
CREATE OR REPLACE FUNCTION spock.recovery_progress(OUT origin_node text, OUT remote_lsn pg_lsn)
RETURNS SETOF record LANGUAGE sql SET search_path = pg_catalog AS $$
    SELECT p.peer_node, greatest(spock.recovery_progress_of(p.peer_node, true), l.progress)
      FROM spock.recovery_peer p LEFT JOIN spock.recovery_leaving l USING (peer_node)
$$;

-- recovery_answer is what a peer's manager asks this node: who it is, its durable progress
-- for each origin, and the slot from which it reads the asking node.
CREATE OR REPLACE FUNCTION spock.recovery_answer(asker text) RETURNS text LANGUAGE sql SET search_path = pg_catalog AS $$
    SELECT json_build_object(
        'node', (SELECT node_name FROM spock.recovery_node),
        'slot', (SELECT slot_name FROM spock.recovery_peer WHERE peer_node = asker),
        'progress', (SELECT coalesce(json_object_agg(origin_node, remote_lsn), '{}') FROM spock.recovery_progress()))::text
$$;

-- recovery_allows is the rule for one pair: how far this node's slot may go for a peer whose
-- durable progress for an origin is need, when this node's own is mine. Null: not at all.
CREATE OR REPLACE FUNCTION spock.recovery_allows(origin text, need pg_lsn, mine pg_lsn, cap pg_lsn) RETURNS pg_lsn
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT CASE WHEN mine IS NULL OR need >= mine THEN cap
                ELSE (SELECT least(max(s.local_lsn), cap) FROM spock.recovery_sample s
                       WHERE s.origin_node = origin AND s.remote_lsn <= need
                      HAVING count(*) > 0) END
$$;

-- recovery_writers are the sessions that commit for an origin and are in the middle of it.
CREATE OR REPLACE FUNCTION spock.recovery_writers() RETURNS text[] LANGUAGE sql SET search_path = pg_catalog AS $$
    SELECT coalesce(array_agg(format('%s/%s', pid, backend_xid)), '{}')
      FROM pg_stat_activity
     WHERE datname = current_database() AND backend_xid IS NOT NULL AND pid <> pg_backend_pid()
       AND (backend_type <> 'client backend' OR application_name LIKE 'spock_recovery%')
$$;

-- advance_recovery_slot_to_min_position moves the slot to the least position that any peer may
-- still need, and returns where it stands. Called periodically, on every node. It never
-- moves the slot back, never makes one, and returns normally when a peer does not answer.
CREATE OR REPLACE FUNCTION spock.advance_recovery_slot_to_min_position() RETURNS pg_lsn
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    began    timestamptz := clock_timestamp();
    slot     text := spock.recovery_slot_name();
    pos      pg_lsn;
    me       text;
    cap      pg_lsn;
    bound    pg_lsn;
    allowed  pg_lsn;
    need     pg_lsn;
    mine     pg_lsn;
    held     text;
    why      text;
    writers  text[];
    settled  boolean;
    p        record;
    o        record;
    pair     record;
    answer   json;
    answers  jsonb := '{}';
BEGIN
    SELECT confirmed_flush_lsn INTO pos FROM pg_replication_slots WHERE slot_name = slot;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'recovery slot % does not exist', slot
            USING ERRCODE = 'undefined_object', HINT = 'SELECT spock.create_recovery_slot() makes it; WAL from before is not kept.';
    END IF;
    IF NOT pg_try_advisory_xact_lock(hashtext('spock.advance_recovery_slot'), hashtext(slot)) THEN
        RETURN pos; -- another manager is at it
    END IF;
    SELECT confirmed_flush_lsn INTO pos FROM pg_replication_slots WHERE slot_name = slot;
    SELECT node_name INTO me FROM spock.recovery_node;
    IF me IS NULL THEN
        RAISE EXCEPTION 'database % is not a node of a cluster', current_database()
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;

    IF EXISTS (SELECT FROM spock.recovery_publication_difference) THEN
        BEGIN
            PERFORM set_config('lock_timeout', '1s', true);
            PERFORM spock.recovery_sync_publications();
            PERFORM set_config('lock_timeout', '0', true);
        EXCEPTION WHEN OTHERS THEN
            RAISE NOTICE 'publications of the recovery slot are not in step: %', SQLERRM;
        END;
    END IF;
    INSERT INTO spock.recovery_heartbeat AS h VALUES (me, 1, clock_timestamp())
        ON CONFLICT (node_name) DO UPDATE SET beat = h.beat + 1, at = excluded.at;

    -- Samples of peers that are gone, or from before a peer was made anew, mean nothing.
    DELETE FROM spock.recovery_sample s
     WHERE NOT EXISTS (SELECT FROM spock.recovery_peer q WHERE q.peer_node = s.origin_node);
    DELETE FROM spock.recovery_leaving l
     WHERE NOT EXISTS (SELECT FROM spock.recovery_peer q WHERE q.peer_node = l.peer_node);
    INSERT INTO spock.recovery_sample (origin_node, remote_lsn, local_lsn)
        SELECT q.peer_node, s.remote_lsn, s.local_lsn
          FROM pg_replication_origin_status s JOIN spock.recovery_origin q ON q.origin_name = s.external_id
         WHERE s.local_lsn <> '0/0' AND s.remote_lsn <> '0/0' -- 0/0: nothing applied since the start
        ON CONFLICT DO NOTHING;

    -- First the cap, then who is committing, then the peers, then (below) this node's own progress.
    cap := pg_current_wal_flush_lsn();
    writers := spock.recovery_writers();
    bound := cap;

    DELETE FROM spock.recovery_pair;
    FOR p IN SELECT peer_node, dsn FROM spock.recovery_peer ORDER BY peer_node LOOP
        BEGIN
            SELECT a::json INTO answer
              FROM spock.recovery_ask_peer(p.peer_node, p.dsn, format('SELECT spock.recovery_answer(%L)', me)) AS a;
            why := CASE WHEN answer ->> 'node' IS DISTINCT FROM p.peer_node
                        THEN format('its address is answered by %s', coalesce(answer ->> 'node', 'no node')) END;
        EXCEPTION WHEN OTHERS THEN
            why := SQLERRM;
        END;
        IF why IS NOT NULL THEN
            -- One silent peer holds the slot, so the others need not be asked.
            held := format('%s: %s', p.peer_node, why);
            bound := NULL;
            INSERT INTO spock.recovery_pair VALUES (p.peer_node, '', NULL, NULL, NULL, why, clock_timestamp());
            EXIT;
        END IF;
        answers := answers || jsonb_build_object(p.peer_node, answer -> 'progress');
        IF answer ->> 'slot' IS NOT NULL AND NOT EXISTS (
            SELECT FROM spock.recovery_peer_slot WHERE peer_node = p.peer_node AND slot_name = answer ->> 'slot') THEN
            INSERT INTO spock.recovery_peer_slot VALUES (p.peer_node, answer ->> 'slot')
                ON CONFLICT (peer_node) DO UPDATE SET slot_name = excluded.slot_name;
        END IF;
    END LOOP;

    -- A commit whose record is before cap, but whose session has not noted its progress yet, would be
    -- passed over. Such a session is still in the same transaction now; then only samples count.
    settled := NOT writers && spock.recovery_writers();

    IF held IS NULL THEN
        FOR pair IN SELECT a.peer_node, q.peer_node AS origin_node, a.has ? q.peer_node AS subscribes,
                           (a.has ->> q.peer_node)::pg_lsn AS need
                      FROM (SELECT key AS peer_node, value AS has FROM jsonb_each(answers)) a
                      JOIN spock.recovery_peer q ON q.peer_node <> a.peer_node LOOP
            need := pair.need;
            mine := spock.recovery_progress_of(pair.origin_node, false);
            IF NOT pair.subscribes THEN
                allowed := cap;
                why := 'does not subscribe to it';
            ELSE
                -- beyond all progress: as long as it is not settled, only samples count
                allowed := spock.recovery_allows(pair.origin_node, need,
                               CASE WHEN settled THEN mine ELSE 'FFFFFFFF/FFFFFFFF' END, cap);
                why := CASE WHEN mine IS NULL OR need >= mine THEN 'level' WHEN allowed IS NULL THEN 'behind, no sample'
                            ELSE 'behind' END;
            END IF;
            IF allowed IS NULL OR allowed < bound THEN
                held := format('%s for %s: %s', pair.peer_node, pair.origin_node, why);
            END IF;
            bound := CASE WHEN allowed IS NOT NULL AND bound IS NOT NULL THEN least(bound, allowed) END;
            INSERT INTO spock.recovery_pair VALUES (pair.peer_node, pair.origin_node, need, mine, allowed, why, clock_timestamp());
            -- A sample beyond this node's progress is of an earlier life of the origin.
            DELETE FROM spock.recovery_sample s WHERE s.origin_node = pair.origin_node AND s.remote_lsn > mine;
        END LOOP;
        PERFORM spock.recovery_prune_samples();
    END IF;

    IF bound > pos THEN
        BEGIN
            PERFORM pg_replication_slot_advance(slot, bound);
        EXCEPTION WHEN object_in_use THEN
            held := format('slot %s is in use: %s', slot, SQLERRM);
            RAISE NOTICE '%', held;
        END;
        SELECT confirmed_flush_lsn INTO pos FROM pg_replication_slots WHERE slot_name = slot;
    END IF;
    IF held IS NOT NULL AND pos < cap THEN
        RAISE NOTICE 'recovery slot % held at % by %', slot, pos, held;
    END IF;
    INSERT INTO spock.recovery_advance AS a (at, cap, position, held_by, seconds)
        VALUES (clock_timestamp(), cap, pos, held, extract(epoch FROM clock_timestamp() - began))
        ON CONFLICT (one) DO UPDATE SET at = excluded.at, cap = excluded.cap, position = excluded.position,
            held_by = excluded.held_by, seconds = excluded.seconds;
    RETURN pos;
END $$;

-- recovery_prune_samples drops what no peer's need can select any more, and thins out what a
-- peer that is away for long lets pile up: a sample less only makes the slot more careful.
CREATE OR REPLACE FUNCTION spock.recovery_prune_samples() RETURNS void LANGUAGE sql SET search_path = pg_catalog AS $$
    WITH floor AS (
        SELECT origin_node, min(need) AS need FROM spock.recovery_pair
         WHERE origin_node <> '' AND reason <> 'does not subscribe to it' GROUP BY origin_node HAVING count(*) = count(need) )
    DELETE FROM spock.recovery_sample s USING floor f
     WHERE s.origin_node = f.origin_node
       AND s.remote_lsn < (SELECT max(x.remote_lsn) FROM spock.recovery_sample x
                            WHERE x.origin_node = f.origin_node AND x.remote_lsn <= f.need);
    DELETE FROM spock.recovery_sample s
     USING (SELECT origin_node, remote_lsn, row_number() OVER (PARTITION BY origin_node ORDER BY remote_lsn DESC) AS n
              FROM spock.recovery_sample) r
     WHERE s.origin_node = r.origin_node AND s.remote_lsn = r.remote_lsn AND r.n > 10000 AND r.n % 2 = 0;
$$;

RESET client_min_messages;
