-- By position, never by clock: something of the hour is in the speed layer, or stored and not covered.
select count(*)
from (
    select hour_start from realtime_hourly
    union
    select stored.hour_start
    from raw_hours stored
    left join batch_coverage covered using (hour_start, log_partition)
    where stored.max_offset >= coalesce(covered.next_offset, 0)
) stale
