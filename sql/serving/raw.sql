select
    timestamp, location, latitude, longitude, aqi_value, aqi_category, traffic_level, current_speed, free_flow_speed,
    road_closure, pollutants::text,
    is_peak_hour(extract(hour from hour_start at time zone d.timezone)::integer),
    source, layer
from served_observations
cross join deployment d
where timestamp >= :start_at
  and timestamp < :end_at
  and (cast(:locations as text[]) is null or location = any(:locations))
order by timestamp desc, location
limit :limit offset :offset
