select
    hour_start, date, hour, location, avg_aqi, avg_traffic, min_aqi, max_aqi, min_traffic, max_traffic, avg_speed,
    avg_congestion_ratio, data_points_count, aqi_count, traffic_count, expected_count, aqi_category(avg_aqi),
    is_peak_hour, layer
from served_hourly
where hour_start >= :start_at
  and hour_start < :end_at
  and (cast(:locations as text[]) is null or location = any(:locations))
order by hour_start, location
