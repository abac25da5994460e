-- What raw_data still has of a span that the retention floor lies in.
insert into dropped_rows (
    location, timestamp, hour_start, city_date, latitude, longitude, aqi_value, aqi_category, traffic_level,
    current_speed, free_flow_speed, congestion_ratio, road_closure, is_peak_hour, pollutants, source, log_partition,
    log_offset, created_at
)
select
    location, timestamp, hour_start, city_date, latitude, longitude, aqi_value, aqi_category, traffic_level,
    current_speed, free_flow_speed, congestion_ratio, road_closure, is_peak_hour, pollutants, source, log_partition,
    log_offset, created_at
from raw_data
where timestamp >= greatest(:start_at, :floor_at) and timestamp < :end_at
  and (cast(:day as date) is null or city_date = :day)
