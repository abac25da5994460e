-- The hour of realtime_hourly from what remains in realtime_data.
insert into realtime_hourly (
    hour_start, location, date, hour, data_points_count,
    aqi_sum, aqi_count, min_aqi, max_aqi, traffic_sum, traffic_count, min_traffic, max_traffic,
    speed_sum_m_h, speed_count, min_speed, max_speed, ratio_sum_ppb, ratio_count, min_ratio, max_ratio
)
select
    hour_start, location, min(city_date), extract(hour from hour_start at time zone :timezone), count(*),
    coalesce(sum(aqi_value), 0), count(aqi_value), min(aqi_value), max(aqi_value),
    coalesce(sum(traffic_level), 0), count(traffic_level), min(traffic_level), max(traffic_level),
    coalesce(sum(round(current_speed * 1000)::bigint), 0), count(current_speed), min(current_speed),
    max(current_speed),
    coalesce(sum(round(congestion_ratio * 1e9)::bigint), 0), count(congestion_ratio), min(congestion_ratio),
    max(congestion_ratio)
from realtime_data
where hour_start = :hour
group by hour_start, location
