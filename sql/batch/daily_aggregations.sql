-- Whether an hour is a peak is asked 24 times, not for every row, as peak_hours_analysis does.
with peaks as materialized (
    select number::smallint as hour, is_peak_hour(number) as is_peak_hour from generate_series(0, 23) number
)
insert into batch_aggregations (
    date, location, data_points_count,
    aqi_sum, aqi_count, min_aqi, max_aqi, traffic_sum, traffic_count, min_traffic, max_traffic,
    speed_sum_m_h, speed_count, min_speed, max_speed, ratio_sum_ppb, ratio_count, min_ratio, max_ratio, expected_count,
    peak_data_points_count, peak_aqi_sum, peak_aqi_count, peak_traffic_sum, peak_traffic_count
)
select
    date, location, sum(data_points_count),
    sum(aqi_sum), sum(aqi_count), min(min_aqi), max(max_aqi), sum(traffic_sum), sum(traffic_count), min(min_traffic),
    max(max_traffic), sum(speed_sum_m_h), sum(speed_count), min(min_speed), max(max_speed), sum(ratio_sum_ppb),
    sum(ratio_count), min(min_ratio), max(max_ratio), sum(expected_count),
    coalesce(sum(data_points_count) filter (where peaks.is_peak_hour), 0),
    coalesce(sum(aqi_sum) filter (where peaks.is_peak_hour), 0),
    coalesce(sum(aqi_count) filter (where peaks.is_peak_hour), 0),
    coalesce(sum(traffic_sum) filter (where peaks.is_peak_hour), 0),
    coalesce(sum(traffic_count) filter (where peaks.is_peak_hour), 0)
from batch_aggregations h
join peaks on peaks.hour = h.hour
where h.hour is not null and date >= :first and date < :until
group by date, location
order by date, location  -- as the index has them, for whoever reads days of all locations
