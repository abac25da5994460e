-- The published part of what raw_data holds of the range.
select
    stored.timestamp, stored.location, stored.hour_start, stored.latitude, stored.longitude, stored.aqi_value,
    stored.aqi_category, stored.traffic_level, stored.current_speed, stored.free_flow_speed, stored.road_closure,
    stored.pollutants, stored.source, 'batch' as layer
from raw_data stored
join batch_coverage covered
  on covered.hour_start = stored.hour_start
 and covered.log_partition = stored.log_partition
 and stored.log_offset < covered.next_offset
where stored.timestamp >= :start_at and stored.timestamp < :end_at
