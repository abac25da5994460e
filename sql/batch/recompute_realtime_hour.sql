-- The hour of realtime_hourly from what remains in realtime_data.
insert into realtime_hourly (
    hour_start, location, date, hour, data_points_count,
    aqi_sum, aqi_count, min_aqi, max_aqi, traffic_sum, traffic_count, min_traffic, max_traffic,
    speed_sum_m_h, speed_count, min_speed, max_speed, ratio_sum_ppb, ratio_count, min_ratio, max_ratio
)
select
    hour_start, location, date, extract(hour from hour_start at time zone :timezone), data_points_count,
    aqi_sum, aqi_count, min_aqi, max_aqi, traffic_sum, traffic_count, min_traffic, max_traffic,
    speed_sum_m_h, speed_count, min_speed, max_speed, ratio_sum_ppb, ratio_count, min_ratio, max_ratio
from (
    with observations as (
        select * from realtime_data where hour_start = :hour
    )
\ir aggregate_observations.sql
) remaining
