insert into batch_coverage as covered (hour_start, log_partition, next_offset)
select :hour, log_partition, next_offset from prepared_frontiers
on conflict (hour_start, log_partition) do update set next_offset = excluded.next_offset
