-- Room and indexes for the speed layer under load, and a log that was cut short as a log of its own.

set local role lambda_owner;

-- Rows that are updated in place again and again: with room on their page an update touches no index (HOT).
alter table realtime_hourly set (fillfactor = 50);
alter table latest_observations set (fillfactor = 50);

-- One visit to the sequence for a thousand rows. Numbers may have gaps, as ever.
alter table realtime_data alter column id set cache 1000;

-- One index does for both: a publish looks for an hour, its last check for the hour's positions.
drop index realtime_data_hour;
drop index realtime_data_position;
create index realtime_data_hour on realtime_data (hour_start, log_partition, log_offset);

-- A log that was cut short gives its last offsets to other records. Its next life counts as another log partition.
alter table log_partitions add column incarnation integer not null default 0;
alter table log_partitions add column cut_at bigint;  -- where a log is known to have been cut short
alter table log_partitions drop constraint log_partitions_log_id_partition_key;
alter table log_partitions add unique (log_id, partition, incarnation);

reset role;
