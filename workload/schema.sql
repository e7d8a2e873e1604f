-- The workload's tables. Run on every node before replication is set up for them.
create schema if not exists chaos;

-- Every transaction's marker. Never changed or deleted.
create table if not exists chaos.ledger (
    session int    not null,
    n       bigint not null,
    value   bigint not null,
    primary key (session, n)
);

-- No key at all: a transaction applied twice shows here.
create table if not exists chaos.event (
    session int    not null,
    n       bigint not null,
    seq     int    not null
);

-- Rows of large transactions.
create table if not exists chaos.bulk (
    session int    not null,
    n       bigint not null,
    seq     int    not null,
    primary key (session, n, seq)
);

-- Keys owned by one session. The pad is toasted and untouched by updates.
create table if not exists chaos.register (
    key     bigint primary key,
    session int    not null,
    n       bigint not null,
    value   bigint not null,
    pad     text   not null
);
alter table chaos.register alter column pad set storage external;

-- Shared by the sessions of one node; some counters by those of all.
create table if not exists chaos.counter (
    key   bigint primary key,
    value bigint not null
);
create table if not exists chaos.account (
    id      bigint primary key,
    balance bigint not null
);

-- Keys that sessions of all nodes write. A row also says which write (session, n) it overwrote where it was written;
-- session 0 with n 0: there was no row.
create table if not exists chaos.conflict (
    key          bigint primary key,
    session      int    not null,
    n            bigint not null,
    value        bigint not null,
    prev_session int    not null,
    prev_n       bigint not null
);

-- Every write of a conflict key, with the same columns, in the same transaction. Never changed or deleted: here nothing is in conflict.
create table if not exists chaos.version (
    session      int    not null,
    n            bigint not null,
    key          bigint not null,
    value        bigint not null,
    prev_session int    not null,
    prev_n       bigint not null,
    primary key (session, n, key)
);
