select
    hour_start, date, hour, location, avg_traffic, avg_aqi, traffic_count, aqi_count, data_points_count,
    extract(isodow from date) >= 6, is_peak_hour, layer
from served_hourly
where hour_start >= :start_at
  and hour_start < :end_at
  and (cast(:locations as text[]) is null or location = any(:locations))
order by hour_start, location
