-- Which rows of the speed layer the hours' results contain, and whether both layers say the same of their positions. All
-- of raw_data lies below the frontiers of this snapshot.
insert into prepared_moves (hour_start, place, log_partition, log_offset, is_same, is_equal)
select
    live.hour_start, live.ctid, live.log_partition, live.log_offset,
    (live.log_partition, live.log_offset) = (stored.log_partition, stored.log_offset),
    (live.log_partition, live.log_offset) = (stored.log_partition, stored.log_offset)
    and (live.aqi_value, live.traffic_level, live.current_speed, live.congestion_ratio)
        is not distinct from (stored.aqi_value, stored.traffic_level, stored.current_speed, stored.congestion_ratio)
from realtime_data live
join raw_data stored using (location, timestamp)
where live.hour_start = any(:hours)
  and stored.timestamp >= :start and stored.timestamp < :end
order by live.ctid  -- a swap goes through the table page by page
