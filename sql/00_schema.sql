-- 00_schema.sql: the schema, the extension and the tables of slot tracking and rescue.
--
-- Order of the files: 00_schema.sql, engine_<engine>.sql, 10_remote.sql, 20_tracking.sql,
-- 21_status.sql, 30_replay.sql, 31_replay_apply.sql, 40_rescue.sql, 41_finalize.sql.
-- Each can be run again with psql; each must run as a superuser in the replicated
-- database, on every node. Names that are not documented in docs/recovery.md begin with
-- recovery_ so that they do not meet those of an engine which owns schema spock.

SET client_min_messages = warning;

CREATE SCHEMA IF NOT EXISTS spock;
CREATE EXTENSION IF NOT EXISTS dblink;

-- One row per node, written by that node alone each time it advances its slot, and
-- replicated: so that a node without other writes still moves its origin on the peers.
CREATE TABLE IF NOT EXISTS spock.recovery_heartbeat (
    node_name text PRIMARY KEY,
    beat      bigint NOT NULL,
    at        timestamptz NOT NULL
);

-- (remote_lsn, local_lsn) of an origin as pg_replication_origin_status showed it: every
-- transaction of the origin up to remote_lsn was committed here before local_lsn, every
-- later one after it. UNLOGGED on purpose: after a crash asynchronous commits may be gone
-- and local_lsn may be given to other WAL, so old samples must go too.
CREATE UNLOGGED TABLE IF NOT EXISTS spock.recovery_sample (
    origin_node text        NOT NULL,
    remote_lsn  pg_lsn      NOT NULL,
    local_lsn   pg_lsn      NOT NULL,
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (origin_node, remote_lsn)
);

-- What the last advance found for each pair (peer, origin); origin '' is the peer itself.
CREATE UNLOGGED TABLE IF NOT EXISTS spock.recovery_pair (
    peer_node   text        NOT NULL,
    origin_node text        NOT NULL,
    need        pg_lsn,     -- the peer's durable progress for the origin, in the origin's WAL
    mine        pg_lsn,     -- this node's progress for the origin, in the origin's WAL
    allows      pg_lsn,     -- up to where in this node's WAL the pair lets the slot go; null: not at all
    reason      text        NOT NULL,
    at          timestamptz NOT NULL,
    PRIMARY KEY (peer_node, origin_node)
);

-- What the last advance came to (one row).
CREATE UNLOGGED TABLE IF NOT EXISTS spock.recovery_advance (
    one       boolean PRIMARY KEY DEFAULT true CHECK (one),
    at        timestamptz NOT NULL,
    cap       pg_lsn NOT NULL,
    position  pg_lsn NOT NULL,
    held_by   text,             -- null: nothing held the slot below cap
    seconds   float8 NOT NULL
);

-- The slot on this node from which a peer reads, learnt from the peer while it lived:
-- when it is lost for good, the slot must go, or it keeps WAL for ever.
CREATE TABLE IF NOT EXISTS spock.recovery_peer_slot (
    peer_node text PRIMARY KEY,
    slot_name text NOT NULL
);

-- What this node durably has of a lost node that it is about to drop. The drop of a replication origin forgets
-- its progress at once, also when the transaction then fails: a replay must not begin from nothing then.
CREATE TABLE IF NOT EXISTS spock.recovery_leaving (
    peer_node text PRIMARY KEY,
    progress  pg_lsn      -- in the lost node's WAL; null: nothing
);

-- One row per rescue of this node (the target). Nothing is ever deleted from it.
CREATE TABLE IF NOT EXISTS spock.recovery_run (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    failed_node     text NOT NULL,
    source_node     text NOT NULL,
    -- started, suspended, replaying, replayed (all there), stopped (stop_lsn or stop_timestamp
    -- reached, the rest is left), done (the failed node is gone from this node)
    step            text NOT NULL,
    suspended       text[] NOT NULL DEFAULT '{}', -- peers whose subscription was disabled for the replay
    attempts        int NOT NULL DEFAULT 0,
    stop_lsn        pg_lsn,
    skip_lsn        pg_lsn,
    stop_timestamp  timestamptz,
    clone           text,
    clone_position  pg_lsn,   -- where the clone began, in the source's WAL
    stop_position   pg_lsn,   -- up to where the source's WAL is read
    source_progress pg_lsn,   -- the source's final progress for the failed node
    progress_before pg_lsn,   -- this node's, before the first attempt
    progress_after  pg_lsn,
    transactions    bigint NOT NULL DEFAULT 0,
    rows            bigint NOT NULL DEFAULT 0,    -- row changes and truncated tables that took effect
    kept            bigint NOT NULL DEFAULT 0,    -- changes that lost to a newer row, or found no row
    skipped         bigint NOT NULL DEFAULT 0,    -- transactions left out by skip_lsn
    last_error      text,
    started_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at     timestamptz
);
CREATE UNIQUE INDEX IF NOT EXISTS recovery_run_unfinished
    ON spock.recovery_run (failed_node) WHERE step <> 'done';

-- recovery_slot_name is spk_recovery_<database>; a name that a slot cannot have is
-- made fit and gets a part of its hash, so that two databases never share a slot.
CREATE OR REPLACE FUNCTION spock.recovery_slot_name(db text DEFAULT current_database())
RETURNS text LANGUAGE sql IMMUTABLE SET search_path = pg_catalog AS $$
    SELECT CASE WHEN db ~ '^[a-z0-9_]+$' AND octet_length(db) <= 50 THEN 'spk_recovery_' || db
                ELSE 'spk_recovery_' || left(regexp_replace(lower(db COLLATE "C"), '[^a-z0-9_]', '_', 'g'), 41)
                     || '_' || left(md5(db), 8) END
$$;

-- recovery_files_version is compared between nodes before a rescue.
CREATE OR REPLACE FUNCTION spock.recovery_files_version() RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 3';

RESET client_min_messages;
