with hours as (
    select *
    from served_hourly
    where hour_start >= :start_at
      and hour_start < :end_at
      and (cast(:locations as text[]) is null or location = any(:locations))
),
sums as (
    select
        location,
        sum(aqi_sum)::double precision as aqi_sum,
        sum(aqi_count)::bigint as aqi_count,
        min(min_aqi) as min_aqi,
        max(max_aqi) as max_aqi,
        sum(traffic_sum)::double precision as traffic_sum,
        sum(traffic_count)::bigint as traffic_count,
        min(min_traffic) as min_traffic,
        max(max_traffic) as max_traffic,
        sum(speed_sum_m_h)::double precision as speed_sum_m_h,
        sum(speed_count)::bigint as speed_count,
        coalesce(sum(aqi_sum) filter (where is_peak_hour), 0)::double precision as peak_aqi_sum,
        coalesce(sum(aqi_count) filter (where is_peak_hour), 0)::bigint as peak_aqi_count,
        coalesce(sum(traffic_sum) filter (where is_peak_hour), 0)::double precision as peak_traffic_sum,
        coalesce(sum(traffic_count) filter (where is_peak_hour), 0)::bigint as peak_traffic_count,
        sum(data_points_count)::bigint as data_points_count,
        sum(expected_count)::bigint as expected_count
    from hours
    group by grouping sets ((location), ())
    having count(*) > 0
)
select
    location,
    aqi_sum / nullif(aqi_count, 0),
    min_aqi, max_aqi,
    aqi_category(aqi_sum / nullif(aqi_count, 0)),
    traffic_sum / nullif(traffic_count, 0),
    min_traffic, max_traffic,
    speed_sum_m_h / nullif(speed_count, 0) / 1000,
    peak_aqi_sum / nullif(peak_aqi_count, 0),
    peak_traffic_sum / nullif(peak_traffic_count, 0),
    (aqi_sum - peak_aqi_sum) / nullif(aqi_count - peak_aqi_count, 0),
    (traffic_sum - peak_traffic_sum) / nullif(traffic_count - peak_traffic_count, 0),
    data_points_count, aqi_count, traffic_count, expected_count
from sums
order by location nulls first
