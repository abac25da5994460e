-- A city day like read_day, out of what was gathered of it.
select
    location, timestamp, hour_start, city_date, latitude, longitude, aqi_value, aqi_category, traffic_level,
    current_speed, free_flow_speed, congestion_ratio, road_closure, is_peak_hour, pollutants, source, log_partition,
    log_offset, created_at
from dropped_rows
where timestamp >= :start_at and timestamp < :end_at and city_date = :day
order by location collate "C", timestamp
