-- Running it: who is alive, which dead letters were sent again, and tables that need nobody to vacuum them.

set local role lambda_owner;

create table daemons (                      -- a row for each ingest and speed, written by itself every ten seconds
    role text not null check (role in ('ingest', 'speed')),
    host text not null,
    pid integer not null,
    version text not null,
    started_at timestamptz not null,
    seen_at timestamptz not null,
    stopped_at timestamptz,                 -- when it ended in order; null: it is alive, or went without a word
    detail jsonb not null,
    primary key (role, host, pid)
);

-- Where a dead letter was sent to again: a record of its own, judged anew. The letter stays one at its old position.
alter table dead_letters
    add column retried_at timestamptz,
    add column retried_partition smallint references log_partitions,
    add column retried_offset bigint;       -- null where Kafka did not say
create index dead_letters_open on dead_letters (appended_at, id) where retried_at is null;

-- Tables whose rows come and go: vacuumed when a twentieth is dead, not a fifth. Giving their emptied ends back to the
-- disk would lock out commits for an instant, again and again; the next rows need that room anyway.
alter table realtime_data set (
    autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05, vacuum_truncate = off);
alter table realtime_hourly set (
    autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05, vacuum_truncate = off);
alter table latest_observations set (autovacuum_vacuum_scale_factor = 0.05, vacuum_truncate = off);
alter table stream_offsets set (fillfactor = 50, vacuum_truncate = off);
alter table daemons set (fillfactor = 50, vacuum_truncate = off);

-- Large tables of which a publish replaces a little: a fifth of a year's rows would be months of garbage.
alter table batch_aggregations set (autovacuum_vacuum_scale_factor = 0.02);
alter table peak_hours_analysis set (autovacuum_vacuum_scale_factor = 0.02);

reset role;

grant insert, update, delete on daemons to lambda_writer;
