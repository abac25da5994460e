-- Exactly the rows of the hour whose key was published: raw rows below the prepared frontiers. Most are gone by what the
-- prepare found; this takes what was consumed since. Key by key: by a join over the hour of raw_data, which may just have
-- been stored and have no statistics, the planner might read all of it for every row.
with found as materialized (
    select
        live.ctid as place, live.log_partition, live.log_offset,
        (live.log_partition, live.log_offset) = (stored.log_partition, stored.log_offset) as is_same,
        (live.aqi_value, live.traffic_level, live.current_speed, live.congestion_ratio)
            is distinct from (stored.aqi_value, stored.traffic_level, stored.current_speed, stored.congestion_ratio)
            as is_other
    from realtime_data live
    cross join lateral (
        select *
        from raw_data
        where location = live.location and timestamp = live.timestamp
        limit 1
    ) stored
    join prepared_frontiers prepared on prepared.log_partition = stored.log_partition
    where live.hour_start = :hour and stored.log_offset < prepared.next_offset
),
moved as (
    delete from realtime_data live
    using found
    where live.ctid = found.place
    returning found.log_partition, found.log_offset, found.is_same, found.is_other
)
select
    count(*) as moved,
    count(*) filter (where is_same) as compared,
    count(*) filter (where is_same and is_other) as differing,
    min(array[log_partition, log_offset]) filter (where is_same and is_other) as first_differing
from moved
