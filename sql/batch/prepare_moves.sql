-- Which rows of the speed layer the hours' results contain, and whether both layers say the same of their positions.
insert into prepared_moves (hour_start, place, log_partition, log_offset, is_same, differs)
select
    live.hour_start, live.ctid, live.log_partition, live.log_offset,
    (live.log_partition, live.log_offset) = (stored.log_partition, stored.log_offset),
    (live.log_partition, live.log_offset) = (stored.log_partition, stored.log_offset)
    and (live.aqi_value, live.traffic_level, live.current_speed, live.congestion_ratio)
        is distinct from (stored.aqi_value, stored.traffic_level, stored.current_speed, stored.congestion_ratio)
from realtime_data live
join raw_data stored using (location, timestamp)
join prepared_frontiers prepared on prepared.log_partition = stored.log_partition
where live.hour_start = any(:hours)
  and stored.timestamp >= :start and stored.timestamp < :end
  and stored.log_offset < prepared.next_offset
