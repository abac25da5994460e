-- What the speed layer serves of the hours beside the sums of what it holds: locations where the two are not the same.
with summed as (
    select
        hour_start, location, count(*) as data_points_count,
        coalesce(sum(aqi_value), 0) as aqi_sum, count(aqi_value) as aqi_count,
        min(aqi_value) as min_aqi, max(aqi_value) as max_aqi,
        coalesce(sum(traffic_level), 0) as traffic_sum, count(traffic_level) as traffic_count,
        min(traffic_level) as min_traffic, max(traffic_level) as max_traffic,
        coalesce(sum(round(current_speed * 1000)::bigint), 0) as speed_sum_m_h, count(current_speed) as speed_count,
        min(current_speed) as min_speed, max(current_speed) as max_speed,
        coalesce(sum(round(congestion_ratio * 1e9)::bigint), 0) as ratio_sum_ppb,
        count(congestion_ratio) as ratio_count, min(congestion_ratio) as min_ratio, max(congestion_ratio) as max_ratio
    from realtime_data
    where hour_start = any(:hours)
    group by hour_start, location
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
