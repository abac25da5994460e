insert into city_hourly (
    hour_start, date, hour, locations, data_points_count, aqi_sum, aqi_count, min_aqi, max_aqi, traffic_sum,
    traffic_count, min_traffic, max_traffic, speed_sum_m_h, speed_count, ratio_sum_ppb, ratio_count, expected_count
)
select
    hour_start, min(date), min(hour), count(*), sum(data_points_count), sum(aqi_sum), sum(aqi_count), min(min_aqi),
    max(max_aqi), sum(traffic_sum), sum(traffic_count), min(min_traffic), max(max_traffic), sum(speed_sum_m_h),
    sum(speed_count), sum(ratio_sum_ppb), sum(ratio_count), sum(expected_count)
from batch_aggregations
where hour_start = :hour and hour is not null
group by hour_start
on conflict (hour_start) do update set
    locations = excluded.locations,
    data_points_count = excluded.data_points_count,
    aqi_sum = excluded.aqi_sum,
    aqi_count = excluded.aqi_count,
    min_aqi = excluded.min_aqi,
    max_aqi = excluded.max_aqi,
    traffic_sum = excluded.traffic_sum,
    traffic_count = excluded.traffic_count,
    min_traffic = excluded.min_traffic,
    max_traffic = excluded.max_traffic,
    speed_sum_m_h = excluded.speed_sum_m_h,
    speed_count = excluded.speed_count,
    ratio_sum_ppb = excluded.ratio_sum_ppb,
    ratio_count = excluded.ratio_count,
    expected_count = excluded.expected_count
