insert into city_hourly (
    hour_start, date, hour, locations, data_points_count, aqi_sum, aqi_count, min_aqi, max_aqi, traffic_sum,
    traffic_count, min_traffic, max_traffic, speed_sum_m_h, speed_count, ratio_sum_ppb, ratio_count, expected_count,
    aqi_locations, traffic_locations
)
select
    hour_start, date, hour, locations, data_points_count, aqi_sum, aqi_count, min_aqi, max_aqi, traffic_sum,
    traffic_count, min_traffic, max_traffic, speed_sum_m_h, speed_count, ratio_sum_ppb, ratio_count, expected_count,
    aqi_locations, traffic_locations
from prepared_cities
where hour_start = :hour
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
    expected_count = excluded.expected_count,
    aqi_locations = excluded.aqi_locations,
    traffic_locations = excluded.traffic_locations
