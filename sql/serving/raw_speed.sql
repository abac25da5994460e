-- What the speed layer holds of the range. By the hour, which the index knows: a range is always of whole hours.
select
    timestamp, location, hour_start, latitude, longitude, aqi_value, aqi_category, traffic_level, current_speed,
    free_flow_speed, road_closure, pollutants, source, 'speed' as layer
from realtime_data
where hour_start >= :start_at and hour_start < :end_at
