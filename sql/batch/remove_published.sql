-- Exactly the rows of the hour whose key was published: raw rows below the prepared frontiers. Most are gone by what the
-- prepare found; this takes what was consumed since.
with moved as (
    delete from realtime_data live
    using raw_data stored, prepared_frontiers prepared
    where live.hour_start = :hour
      and stored.timestamp >= :hour and stored.timestamp < :end
      and stored.location = live.location
      and stored.timestamp = live.timestamp
      and prepared.log_partition = stored.log_partition
      and stored.log_offset < prepared.next_offset
    returning
        live.log_partition, live.log_offset,
        (live.log_partition, live.log_offset) = (stored.log_partition, stored.log_offset) as is_same,
        (live.aqi_value, live.traffic_level, live.current_speed, live.congestion_ratio)
            is distinct from (stored.aqi_value, stored.traffic_level, stored.current_speed, stored.congestion_ratio)
            as is_other
)
select
    count(*) as moved,
    count(*) filter (where is_same) as compared,
    count(*) filter (where is_same and is_other) as differing,
    min(array[log_partition, log_offset]) filter (where is_same and is_other) as first_differing
from moved
