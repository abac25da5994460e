-- What the speed layer serves of the hours beside the sums of what it holds: locations where the two are not the same.
with observations as (
    select * from realtime_data where hour_start = any(:hours)
),
summed as (
\ir aggregate_observations.sql
),
served as (
    select * from realtime_hourly where hour_start = any(:hours)
)
insert into prepared_drift (hour_start, locations)
select hour_start, count(*)
from summed s
full join served h using (hour_start, location)
where (
    s.data_points_count, s.aqi_sum, s.aqi_count, s.min_aqi, s.max_aqi, s.traffic_sum, s.traffic_count, s.min_traffic,
    s.max_traffic, s.speed_sum_m_h, s.speed_count, s.min_speed, s.max_speed, s.ratio_sum_ppb, s.ratio_count,
    s.min_ratio, s.max_ratio
) is distinct from (
    h.data_points_count, h.aqi_sum, h.aqi_count, h.min_aqi, h.max_aqi, h.traffic_sum, h.traffic_count, h.min_traffic,
    h.max_traffic, h.speed_sum_m_h, h.speed_count, h.min_speed, h.max_speed, h.ratio_sum_ppb, h.ratio_count,
    h.min_ratio, h.max_ratio
)
group by hour_start
