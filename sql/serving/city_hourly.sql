select
    hour_start, date, hour, avg_aqi, avg_traffic, avg_speed, data_points_count, aqi_count, traffic_count,
    expected_count, extract(isodow from date) >= 6, is_peak_hour, layer
from served_city_hourly
where hour_start >= :start_at and hour_start < :end_at
order by hour_start
