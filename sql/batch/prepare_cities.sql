insert into prepared_cities (
    hour_start, date, hour, locations, data_points_count, aqi_sum, aqi_count, min_aqi, max_aqi, traffic_sum,
    traffic_count, min_traffic, max_traffic, speed_sum_m_h, speed_count, ratio_sum_ppb, ratio_count, expected_count
)
select
    hour_start, min(date), min(hour), count(*), sum(data_points_count), sum(aqi_sum), sum(aqi_count), min(min_aqi),
    max(max_aqi), sum(traffic_sum), sum(traffic_count), min(min_traffic), max(max_traffic), sum(speed_sum_m_h),
    sum(speed_count), sum(ratio_sum_ppb), sum(ratio_count), sum(expected_count)
from prepared_aggregations
group by hour_start
